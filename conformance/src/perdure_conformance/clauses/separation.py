"""CALL-2 and CALL-3: records are not shared with the caller, and namespaces not with each other."""

from __future__ import annotations

from collections.abc import Mapping

from perdure.contract import (
    LISTING,
    MANAGEMENT,
    VALUES,
    InstanceQuery,
    LeasedActivity,
    LeasedTurn,
    Provider,
    Serves,
    StoreMetrics,
    StoreQueueDepths,
)

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import ClauseBroken, expect_equal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    SECOND,
    delivered,
    event,
    incarnation_of,
    new_instance,
    restart,
    work,
)


@check("CALL-2")
async def records_are_not_shared(bench: Bench) -> None:
    """Returned records never change, and what was passed in may change."""
    await passed_in(bench)
    answers = await all_answers(bench)
    seen = {what: repr(answer) for what, answer in answers.items()}
    await change_everything(bench)
    for what, answer in answers.items():
        expect_equal(repr(answer), seen[what], f"the answer of {what} after later calls")


async def passed_in(bench: Bench) -> None:
    """Change what was passed in, and look at what is stored."""
    labels = {"key": "label"} if LISTING in bench.provider.capabilities else {}
    await bench.create(new_instance(labels=labels))
    labels.clear()
    sent = [event("one"), event("two")]
    await bench.provider.send(sent)
    sent.clear()
    versions = {"flow": frozenset({"1.0.0"})}
    turns = await bench.lease(token="mine", serves=Serves(orchestrations=versions))
    versions.clear()
    turn = turns[0]
    expect_equal(delivered(turn), ["start", "one", "two"], "messages that were passed in a list")
    values: dict[str, bytes | None] = (
        {"key": b"value"} if VALUES in bench.provider.capabilities else {}
    )
    activities = (work("job"), work("other"))
    await bench.keep(turn, events=(b"1",), remove=("one",), add=activities, values=values)
    values.clear()
    state = await bench.state()
    if LISTING in bench.provider.capabilities:
        expect_equal(dict(state.labels), {"key": "label"}, "labels that were passed in a mapping")
    if VALUES in bench.provider.capabilities:
        found = await bench.provider.read_values("alpha")
        expect_equal(found and dict(found.values), {"key": b"value"}, "values passed in a mapping")


async def all_answers(bench: Bench) -> Mapping[str, object]:
    """An answer of every call that reads."""
    provider, capabilities = bench.provider, bench.provider.capabilities
    answers: dict[str, object] = {
        "lease_turns": await bench.lease(token="mine"),
        "lease_activities": await bench.lease_work(token="mine", limit=1),
        "read_instance": await provider.read_instance("alpha"),
        "read_history": await provider.read_history(
            "alpha", 1, incarnation=incarnation_of("alpha")
        ),
        "read_history of the end": await provider.read_history(
            "alpha", 1, incarnation=incarnation_of("alpha"), after=1
        ),
    }
    if VALUES in capabilities:
        answers["read_values"] = await provider.read_values("alpha")
    if MANAGEMENT not in bench.backend.declaration.capabilities:
        return answers
    admin = bench.admin
    answers |= {
        "list_instances": await admin.list_instances(limit=10),
        "list_executions": await admin.list_executions("alpha"),
        "list_execution_numbers": await admin.list_execution_numbers("alpha"),
        "read_execution": await admin.read_execution("alpha", 1),
        "read_events": await admin.read_events("alpha", 1),
        "count_instances": await admin.count_instances(),
        "count_queues": await admin.count_queues(),
    }
    if LISTING in capabilities:
        answers["find_instances"] = await admin.find_instances(InstanceQuery(), limit=10)
        answers["read_work"] = await admin.read_work("alpha")
    return answers


async def change_everything(bench: Bench) -> None:
    """Change all that the answers were about."""
    bench.advance(SECOND)
    turn = (await bench.lease(token="mine"))[0]
    held = (await bench.lease_work(token="mine", limit=1))[0]
    await bench.send(event("three"))
    await bench.create("beta")
    values: dict[str, bytes | None] = {}
    if VALUES in bench.provider.capabilities:
        values = {"key": b"changed", "more": b"value"}
    answer = await bench.commit(
        turn,
        expected_event=1,
        events=(b"2",),
        version="1.0.0",
        add=(work("new"),),
        finish=(held.lease,),
        values=values,
        keep_for=LEASE,
    )
    seen = repr(answer)
    await bench.send(event("four"))
    turn = (await bench.lease(token="mine"))[0]
    await bench.commit(turn, end=AGAIN, front=(restart(2),), keep_for=LEASE)
    expect_equal(repr(answer), seen, "the answer of a commit after later calls")


SEPARATORS = "/#:|.-"
"""Characters with which a storage may join a namespace and an id."""


def lookalikes(namespace: str) -> tuple[str, ...]:
    """Namespaces that a storage takes for one another if it folds, decodes, composes or cuts them."""
    return (
        f"{namespace}-a",
        f"{namespace}-A",
        f" {namespace}-a",
        f"{namespace}-a ",
        f"{namespace}/b",
        f"{namespace}%2Fb",
        f"{namespace}-\N{LATIN SMALL LETTER E WITH ACUTE}",
        f"{namespace}-e\N{COMBINING ACUTE ACCENT}",
        f"{namespace}_a",
        f"{namespace}-".ljust(110, "x") + "1",
        f"{namespace}-".ljust(110, "x") + "2",
        f"{namespace}-".ljust(255, "x") + "1",
        f"{namespace}-".ljust(255, "x") + "2",
    )


@check("CALL-3")
async def namespaces_are_independent(bench: Bench) -> None:
    """Nothing of one namespace is seen in another."""
    names = (bench.namespace, *lookalikes(bench.namespace))
    spaces = {name: await bench.open(namespace=name) for name in names}
    for name, space in spaces.items():
        await space.send([event("early", data=name.encode())])
        await bench.all_well(
            space.create_instance(new_instance(instance, data=name.encode()))
            for instance in ("alpha", "beta")
        )
    turns = {
        name: {turn.state.instance: turn for turn in await bench.lease(provider=space)}
        for name, space in spaces.items()
    }
    for name, found in turns.items():
        expect_equal(sorted(found), ["alpha", "beta"], f"instances of {name!r}")
        expect_equal(delivered(found["alpha"]), ["start", "early"], f"messages of {name!r}")
        data = {message.data for turn in found.values() for message in turn.messages}
        expect_equal(data, {name.encode()}, f"payloads of {name!r}")
    first, *others = names
    commit = bench.draft(turns[first]["alpha"], events=(b"1",), add=(work("job"),))
    await spaces[first].commit_turn(commit)
    await spaces[first].commit_turn(bench.draft(turns[first]["beta"], end=COMPLETED))
    await spaces[first].send([event("event")])
    job = await bench.lease_work(provider=spaces[first], token="mine")
    for name in others:
        await expect_untouched(bench, name, spaces[name], turns[name]["alpha"], job[0])
    await expect_joined_apart(bench)


async def expect_untouched(
    bench: Bench, name: str, space: Provider, turn: LeasedTurn, job: LeasedActivity
) -> None:
    """Complain unless a namespace has two instances that nothing happened to."""
    expect_equal(await space.read_instance("alpha"), turn.state, f"an instance of {name!r}")
    history = await bench.history(provider=space)
    expect_equal(history, [], f"history in {name!r}")
    work_found = await bench.lease_work(provider=space, token="mine")
    expect_equal([each.id for each in work_found], [], f"activities of {name!r}")
    gone = await space.renew_activities([job.lease], lease_for=LEASE)
    expect_equal(gone, frozenset({job.lease}), f"another namespace's lease in {name!r}")
    if MANAGEMENT not in bench.backend.declaration.capabilities:
        return
    admin = space.as_management_capability()
    if admin is None:
        raise ClauseBroken("as_management_capability is None although management is declared")
    page = await admin.list_instances(limit=100)
    expect_equal(sorted(page.ids), ["alpha", "beta"], f"ids listed in {name!r}")
    counts = await admin.count_instances()
    wanted = StoreMetrics(total_instances=2, total_executions=2, running_instances=2)
    expect_equal(counts, wanted, f"counts of {name!r}")
    expect_equal(
        await admin.count_queues(), StoreQueueDepths(), f"depths of the queues of {name!r}"
    )


async def expect_joined_apart(bench: Bench) -> None:
    """Complain if a namespace and an id, joined by a separator, meet another pair of them."""
    for separator in SEPARATORS:
        await bench.create(f"part{separator}id")
    for separator in SEPARATORS:
        space = await bench.open(namespace=f"{bench.namespace}{separator}part")
        found = await space.read_instance("id")
        expect_equal(found, None, f"an instance where {separator!r} joins a namespace and an id")
