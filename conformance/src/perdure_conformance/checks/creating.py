"""CREATE: creating instances."""

from __future__ import annotations

import asyncio

from perdure.contract import ExecutionEnd, InstanceState, InstanceStatus, ParentLink
from perdure.errors import InstanceAlreadyExists

from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.lab import Lab
from perdure_conformance.samples import SECOND, delivered, event, new_instance

PARENT = ParentLink(instance="parent", incarnation="parent@7", execution=3, event=11)


@check("CREATE-1")
async def a_created_instance_is_there(lab: Lab) -> None:
    """After the call every reader sees the instance with its fields as given."""
    await lab.create(new_instance(incarnation="one", version="2.0.0", engine=7, parent=PARENT))
    expected = InstanceState(
        instance="alpha",
        incarnation="one",
        name="flow",
        version="2.0.0",
        engine=7,
        execution=1,
        last_event=0,
        last_commit=None,
        status=InstanceStatus.RUNNING,
        output=None,
        created_at=lab.now,
        updated_at=lab.now,
        parked=None,
        parent=PARENT,
    )
    expect_equal(await lab.state(), expected, "the new instance")
    expect_equal(await lab.state(provider=await lab.open()), expected, "seen by another reader")


@check("CREATE-2")
async def the_start_is_there_at_once(lab: Lab) -> None:
    """The start message is in the mailbox in the same step."""
    new = await lab.create()
    turn = await lab.take()
    expect_equal(turn.messages, (new.start,), "the first turn's messages")


@check("CREATE-3")
async def an_id_in_use_is_refused(lab: Lab) -> None:
    """Another incarnation of an id in use is refused, and nothing changes."""
    other = new_instance(incarnation="another", name="other", data=b"other")
    await lab.create()
    before = await lab.state()
    lab.advance(SECOND)
    with expect_refusal(InstanceAlreadyExists, "a second create") as refusal:
        await lab.create(other)
    expect_equal(refusal.error.instance, "alpha", "the id that the error names")
    expect_equal(await lab.state(), before, "the running instance")
    turn = await lab.take()
    expect_equal([message.data for message in turn.messages], [b"start"], "its mailbox")
    await lab.commit(turn, end=ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done"))
    ended = await lab.state()
    with expect_refusal(InstanceAlreadyExists, "a create over an ended instance"):
        await lab.create(other)
    expect_equal(await lab.state(), ended, "the ended instance")
    await lab.expect_nothing_ready("after a refused create")


@check("CREATE-4")
async def a_repeated_create_has_no_effect(lab: Lab) -> None:
    """The same incarnation again changes nothing, at any time."""
    new = await lab.create()
    before = await lab.state()
    lab.advance(SECOND)
    await lab.create(new)
    expect_equal(await lab.state(), before, "the instance after a repeat")
    turn = await lab.take()
    expect_equal(delivered(turn), ["start"], "the mailbox after a repeat")
    await lab.commit(turn, events=(b"1",))
    await lab.create(new)
    await lab.expect_nothing_ready("the start was consumed, then the create repeated")
    await lab.send(event("more"))
    turn = await lab.take()
    await lab.commit(turn, end=ExecutionEnd(status=InstanceStatus.FAILED, output=b"no"))
    ended = await lab.state()
    await lab.create(new)
    expect_equal(await lab.state(), ended, "the ended instance after a repeat")
    await lab.expect_nothing_ready("a create of an ended instance was repeated")


@check("CREATE-5")
async def waiting_events_follow_the_start(lab: Lab) -> None:
    """Events that waited for the id come after the start, in their order."""
    await lab.send(event("one"), event("two"))
    lab.advance(SECOND)
    await lab.send(event("three"))
    lab.advance(SECOND)
    await lab.create()
    expect_equal(
        delivered(await lab.take()), ["start", "one", "two", "three"], "the first turn's messages"
    )


@check("CREATE-6")
async def one_of_many_creates_wins(lab: Lab) -> None:
    """Of concurrent creates of one id exactly one succeeds."""
    objects = [lab.provider, await lab.open()]
    news = [new_instance(incarnation=f"i-{n}", data=b"%d" % n) for n in range(12)]
    outcomes = await lab.all_of(objects[n % 2].create_instance(new) for n, new in enumerate(news))
    won = [new for new, outcome in zip(news, outcomes, strict=True) if outcome is None]
    lost = [outcome for outcome in outcomes if isinstance(outcome, InstanceAlreadyExists)]
    expect_equal((len(won), len(lost)), (1, 11), "creates that succeeded and that were refused")
    turn = await lab.take()
    expect_equal(turn.state.incarnation, won[0].incarnation, "the incarnation that won")
    expect_equal(turn.messages, (won[0].start,), "the start that is delivered")


@check("CREATE-7")
async def a_cancelled_create_is_whole_or_nothing(lab: Lab) -> None:
    """A cancelled create leaves the instance with its start, or neither."""
    for steps in range(12):
        instance = f"alpha-{steps}"
        task = asyncio.ensure_future(lab.create(instance))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        exists = await lab.provider.read_instance(instance) is not None
        started = [turn.state.instance for turn in await lab.lease()]
        expect(
            exists == (instance in started),
            f"cancelled after {steps} steps: exists {exists}, leased {started}",
        )
