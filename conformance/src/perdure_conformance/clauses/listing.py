"""LIST: finding instances by their fields, and what one of them has still to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from perdure.contract import (
    DELETION,
    LISTING,
    MAX_BYTES_PER_DELIVERY,
    VALUES,
    ActivityRelease,
    ExecutionEnd,
    InstanceQuery,
    InstanceState,
    InstanceStatus,
    InstanceWork,
    LeasedTurn,
    MessageKind,
    NewChild,
    ParkedMark,
    QueuedActivity,
    QueuedMessage,
    TurnRelease,
)
from perdure.errors import InvalidInput

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.listing_queries import described, meets, queries
from perdure_conformance.clauses.texts import ODD
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    SECOND,
    event,
    incarnation_of,
    new_instance,
    restart,
    result,
    timer,
    work,
)

EVERYTHING = InstanceQuery()
ROUNDS = 8
PAGES = 2000
"""More pages than any listing of these checks has."""


async def found_by(
    bench: Bench,
    query: InstanceQuery,
    *,
    limit: int = 100,
    between: Callable[[int], Awaitable[None]] | None = None,
) -> list[InstanceState]:
    """All pages of a listing together. `between` is called after each page, with its number."""
    found: list[InstanceState] = []
    token: str | None = None
    for number in range(PAGES):
        page = await bench.admin.find_instances(query, limit=limit, token=token)
        expect(len(page.instances) <= limit, f"{len(page.instances)} instances at limit {limit}")
        found.extend(page.instances)
        token = page.next_token
        if token is None:
            return found
        if between is not None:
            await between(number)
    raise AssertionError(f"a listing has not ended after {PAGES} pages")


def names(states: list[InstanceState]) -> list[str]:
    """The ids of instances, in order."""
    return [state.instance for state in states]


@check("LIST-1", since=(1, 1), needs=LISTING)
async def labels_are_kept(bench: Bench) -> None:
    """Labels are kept exactly as given, shown with every state, and those of a child are its own."""
    short = [text for text in ODD if len(text.encode()) <= 256]
    full = {f"{n}{text}"[:64]: text for n, text in enumerate(short[:8])}
    largest = {f"key {n}": "\N{GREEK SMALL LETTER OMEGA}" * 128 for n in range(8)}
    odd = dict.fromkeys(short[8:16], "")
    given = {"none": {}, "full": full, "largest": largest, "odd": odd, "empty": {"a": ""}}
    for name, labels in given.items():
        await bench.create(new_instance(name, labels=labels))
    turns = {turn.state.instance: turn for turn in await bench.lease(provider=await bench.open())}
    listed = {state.instance: state for state in await found_by(bench, EVERYTHING)}
    for name, labels in given.items():
        for state in (await bench.state(name), turns[name].state, listed[name]):
            expect_equal(dict(state.labels), labels, f"the labels of {name!r}")
    child = new_instance("child", labels={"own": "label"})
    await bench.commit(turns["full"], create=(NewChild(instance=child),), end=COMPLETED)
    expect_equal(dict((await bench.state("full")).labels), full, "the labels after the end")
    expect_equal(dict((await bench.state("child")).labels), {"own": "label"}, "those of a child")
    bench.advance(LEASE)
    turn = await bench.pick("largest")
    turn = await bench.keep(turn, end=AGAIN, front=(restart(2, "largest"),))
    expect_equal(dict(turn.state.labels), largest, "the labels in the next execution")


@check("LIST-2", since=(1, 1), needs=LISTING)
async def everything_is_found(bench: Bench) -> None:
    """A query without conditions finds every instance once, newest first, with its whole state."""
    expect_equal(await found_by(bench, EVERYTHING), [], "a listing of nothing")
    await bench.send(event("early", "ghost"))
    created = ["m", "z", "a", "k", "b", "y", "c"]
    for name in created:
        bench.advance(SECOND)
        await bench.create(new_instance(name, version="1.0.0"))
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    bench.advance(SECOND)
    await bench.commit(turns["m"], events=(b"1",))
    await bench.commit(turns["k"], events=(b"1",), end=COMPLETED)
    await bench.commit(turns["z"], end=AGAIN, front=(restart(2, "z"),), version="2.0.0")
    mark = ParkedMark(reason="unregistered", details="details")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turns["a"]), parked=mark))
    wanted = [await bench.state(name) for name in reversed(created)]
    for limit in (1, 3, 7, 100):
        found = await found_by(bench, EVERYTHING, limit=limit)
        expect_equal(found, wanted, f"a listing in pages of {limit}")


@check("LIST-3", since=(1, 1), needs=LISTING)
async def conditions_choose(bench: Bench) -> None:
    """Each condition alone, and several together, find exactly the instances that meet them."""
    states = await described(bench)
    chosen = queries(states)
    for query in chosen:
        wanted = [state.instance for state in states if meets(state, query)]
        found = await found_by(bench, query)
        expect_equal(names(found), wanted, f"instances found by {query}")
        whole = [state for state in states if meets(state, query)]
        expect_equal(found, whole, f"their states, found by {query}")
    for query in chosen[::3]:
        wanted = [state.instance for state in states if meets(state, query)]
        found = await found_by(bench, query, limit=2)
        expect_equal(names(found), wanted, f"instances found in pages of two by {query}")


@check("LIST-4", since=(1, 1), needs=LISTING)
async def listings_have_no_gaps(bench: Bench) -> None:
    """An instance that meets the query throughout is on exactly one page, whatever happens to others meanwhile."""
    kept = [f"kept-{number:02}" for number in range(12)]
    for number, name in enumerate(kept):
        for other in (f"ends-{number:02}", f"parks-{number:02}", name):
            bench.advance(SECOND)
            await bench.create(new_instance(other, labels={"tenant": "acme"}))
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    running = InstanceQuery(
        statuses=frozenset({InstanceStatus.RUNNING}), parked=False, labels={"tenant": "acme"}
    )

    async def change(page: int) -> None:
        number = f"{page % len(kept):02}"
        await bench.create(new_instance(f"new-{page}", labels={"tenant": "acme"}))
        if (turn := turns.pop(f"ends-{number}", None)) is not None:
            await bench.commit(turn, end=COMPLETED)
            if DELETION in bench.backend.declaration.capabilities:
                name = turn.state.instance
                await bench.provider.delete_instance(name, incarnation=incarnation_of(name))
        if (turn := turns.pop(f"parks-{number}", None)) is not None:
            mark = ParkedMark(reason="raised", details="details")
            await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
        if (turn := turns.pop(f"kept-{number}", None)) is not None:
            await bench.commit(turn, events=(b"1",))

    found = names(await found_by(bench, running, limit=3, between=change))
    wanted = kept[::-1]
    expect_equal([n for n in found if n in kept], wanted, "instances that met the query throughout")
    expect_equal(len(set(found)), len(found), "distinct ids, against ids listed")


@check("LIST-5", since=(1, 1), needs=LISTING)
async def tokens_belong_to_their_query(bench: Bench) -> None:
    """A token that the provider did not give, or gave for another query, is refused."""
    for number in range(4):
        bench.advance(SECOND)
        await bench.create(f"i-{number}")
    flows = InstanceQuery(orchestrations=frozenset({"flow"}))
    page = await bench.admin.find_instances(flows, limit=1)
    listed = await bench.admin.list_instances(limit=1)
    expect(page.next_token is not None, "a page of one of four instances has no token")
    for token in ("", "certainly not a token", "\x00", "-1", "é", f"{page.next_token}x"):
        with expect_refusal(InvalidInput, f"the token {token!r}"):
            await bench.admin.find_instances(flows, limit=1, token=token)
    for query in (
        EVERYTHING,
        replace(flows, parked=False),
        replace(flows, id_prefix="i"),
        replace(flows, labels={"a": "b"}),
        replace(flows, created_before=bench.now + 1),
    ):
        with expect_refusal(InvalidInput, f"a token of another query, for {query}"):
            await bench.admin.find_instances(query, limit=1, token=page.next_token)
    with expect_refusal(InvalidInput, "a token of list_instances"):
        await bench.admin.find_instances(EVERYTHING, limit=1, token=listed.next_token)
    same = replace(flows, orchestrations=frozenset(["flow"]), labels={})
    other = (await bench.open()).as_management_capability()
    expect(other is not None, "another provider object has no management")
    if other is not None:
        second = await other.find_instances(same, limit=1, token=page.next_token)
        expect_equal([each.instance for each in second.instances], ["i-2"], "the second page")


@check("LIST-6", since=(1, 1), needs=LISTING)
async def pages_have_a_size(bench: Bench) -> None:
    """A page has up to 4 MiB of outputs and custom statuses, and at least one instance if it found one."""
    mebibyte = 1024 * 1024
    sizes = [1, 3, 2, 2, 5, 1, 1, 1, 1, 1]
    has_values = VALUES in bench.backend.declaration.capabilities
    for number, size in enumerate(sizes):
        bench.advance(SECOND)
        turn = await bench.started(f"i-{number}")
        data = b"x" * (size * mebibyte)
        if has_values and number % 2:
            await bench.commit(turn, custom_status=data)
        else:
            await bench.commit(turn, end=ExecutionEnd(status=InstanceStatus.FAILED, output=data))
    found: list[str] = []
    token: str | None = None
    while True:
        page = await bench.admin.find_instances(EVERYTHING, limit=100, token=token)
        outputs = [each.output or each.custom_status or b"" for each in page.instances]
        size = sum(map(len, outputs))
        expect(
            size <= MAX_BYTES_PER_DELIVERY or len(outputs) == 1,
            f"a page of {len(outputs)} instances has {size} bytes of outputs and statuses",
        )
        found.extend(each.instance for each in page.instances)
        token = page.next_token
        if token is None:
            break
    expect_equal(found, [f"i-{n}" for n in reversed(range(len(sizes)))], "instances on all pages")


@check("LIST-7", since=(1, 1), needs=LISTING)
async def queued_work_is_shown(bench: Bench) -> None:
    """`read_work` shows activities and messages with all that their queues know, and nothing void."""
    admin = bench.admin
    expect_equal(await admin.read_work("absent"), None, "the work of an absent instance")
    await bench.send(event("early", "absent"))
    expect_equal(await admin.read_work("absent"), None, "the work of an id that events wait for")
    began = bench.now
    due = bench.after(LEASE)
    turn = await bench.started()
    later = work("later", visible_at=due, tag="gpu", data=b"input")
    turn = await bench.keep(turn, add=(work("leased"), work("given back"), later))
    jobs = {each.id: each for each in await bench.lease_work()}
    bench.advance(SECOND)
    release = ActivityRelease(lease=jobs["given back"].lease, delay=2 * SECOND)
    await bench.provider.release_activity(release)
    delayed = bench.after(2 * SECOND)
    child = result("child", kind=MessageKind.CHILD, execution=None, data=b"12345")
    await bench.send(
        event("one", data=b"123"),
        timer("timer", due),
        child,
        result("void", incarnation="another"),
        result("void too", execution=7),
    )
    turn = await bench.keep(turn, remove=(), front=(event("front"),))
    found = await shown(bench)
    in_order = sorted(found.activities, key=lambda each: each.id)
    plain = QueuedActivity(id="leased", name="work", tag=None, data=b"", added_at=began, delivery=1)
    wanted = [
        replace(plain, id="given back", visible_at=delayed),
        replace(plain, id="later", tag="gpu", data=b"input", delivery=0, visible_at=due),
        replace(plain, leased_until=jobs["leased"].until),
    ]
    wanted = sorted(wanted, key=lambda each: each.id)
    expect_equal(in_order, wanted, "activities of an instance")
    messages = (
        QueuedMessage(id="front", kind=MessageKind.EVENT, size=0),
        QueuedMessage(id="one", kind=MessageKind.EVENT, size=3),
        QueuedMessage(id="child", kind=MessageKind.CHILD, size=5),
        QueuedMessage(id="timer", kind=MessageKind.TIMER, size=0, visible_at=due),
    )
    expect_equal(found.messages, messages, "messages of an instance, in the order of the mailbox")
    at_turn = (found.attempt, found.leased_until, found.delayed_until, found.more)
    expect_equal(at_turn, (1, bench.after(LEASE), None, False), "attempt, lease, delay, more")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), delay=LEASE))
    found = await shown(bench)
    at_turn = (found.attempt, found.leased_until, found.delayed_until)
    expect_equal(at_turn, (1, None, bench.after(LEASE)), "attempt, lease and delay when released")
    await expect_first_thousand(bench)
    bench.advance(LEASE)
    turn = await bench.pick("alpha")
    await bench.commit(turn, end=COMPLETED)
    nothing = InstanceWork(
        attempt=0, leased_until=None, delayed_until=None, activities=(), messages=()
    )
    expect_equal(await admin.read_work("alpha"), nothing, "the work of an ended instance")


async def shown(bench: Bench, instance: str = "alpha") -> InstanceWork:
    """The work of an instance that exists."""
    found = await bench.admin.read_work(instance)
    if found is None:
        raise AssertionError(f"the work of {instance!r} cannot be read")
    return found


async def expect_first_thousand(bench: Bench) -> None:
    """Complain unless the first 1,000 messages of a full mailbox are shown, and that there are more."""
    await bench.create("full")
    for begin in (0, 500):
        await bench.send(*(event(f"e-{begin + n:04}", "full") for n in range(500)))
    found = await shown(bench, "full")
    wanted = ["start", *(f"e-{n:04}" for n in range(999))]
    expect_equal([each.id for each in found.messages], wanted, "the first 1,000 messages")
    expect_equal(found.more, True, "whether there are more than 1,000 messages")


@check("LIST-8", since=(1, 1), needs=LISTING)
async def states_are_whole(bench: Bench) -> None:
    """A state in a page is one that the instance had during the call, whatever commits meanwhile."""
    other = await bench.open()
    turns: dict[str, LeasedTurn] = {}
    for number in range(4):
        bench.advance(SECOND)
        turns[f"i-{number}"] = await bench.started(f"i-{number}")
    for round_ in range(1, ROUNDS + 1):
        drafts = [
            bench.draft(
                turn, id=f"commit {round_} of {name}", events=(b"1",) * round_, keep_for=LEASE
            )
            for name, turn in turns.items()
        ]
        if round_ == ROUNDS:
            drafts = [replace(draft, end=COMPLETED) for draft in drafts]
        before = {name: await bench.state(name) for name in turns}
        listing = asyncio.ensure_future(found_by(bench, EVERYTHING))
        await bench.all_well(other.commit_turn(draft) for draft in drafts)
        found = await listing
        after = {name: await bench.state(name) for name in turns}
        expect_equal(names(found), [*turns][::-1], "instances found while others commit")
        for state in found:
            possible = (before[state.instance], after[state.instance])
            expect(state in possible, f"{state} is neither of {possible}")
        turns = {
            name: replace(turn, state=after[name], messages=()) for name, turn in turns.items()
        }
