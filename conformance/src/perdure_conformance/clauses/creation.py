"""CREATE: creating instances."""

from __future__ import annotations

from perdure.contract import ExecutionEnd, InstanceState, InstanceStatus, ParentLink
from perdure.errors import InstanceAlreadyExists

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import SECOND, delivered, event, new_instance

PARENT = ParentLink(instance="parent", incarnation="parent@7", execution=3, event=11)


@check("CREATE-1")
async def a_created_instance_is_there(bench: Bench) -> None:
    """After the call every reader sees the instance with its fields as given."""
    await bench.create(new_instance(incarnation="one", version="2.0.0", engine=7, parent=PARENT))
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
        created_at=bench.now,
        updated_at=bench.now,
        parked=None,
        parent=PARENT,
    )
    expect_equal(await bench.state(), expected, "the new instance")
    expect_equal(await bench.state(provider=await bench.open()), expected, "seen by another reader")


@check("CREATE-2")
async def the_start_is_there_at_once(bench: Bench) -> None:
    """The start message is in the mailbox in the same step."""
    new = await bench.create()
    turn = await bench.take()
    expect_equal(turn.messages, (new.start,), "the first turn's messages")


@check("CREATE-3")
async def an_id_in_use_is_refused(bench: Bench) -> None:
    """Another incarnation of an id in use is refused, and nothing changes."""
    other = new_instance(incarnation="another", name="other", data=b"other")
    await bench.create()
    before = await bench.state()
    bench.advance(SECOND)
    with expect_refusal(InstanceAlreadyExists, "a second create") as refusal:
        await bench.create(other)
    expect_equal(refusal.error.instance, "alpha", "the id that the error names")
    expect_equal(await bench.state(), before, "the running instance")
    turn = await bench.take()
    expect_equal([message.data for message in turn.messages], [b"start"], "its mailbox")
    await bench.commit(turn, end=ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done"))
    ended = await bench.state()
    with expect_refusal(InstanceAlreadyExists, "a create over an ended instance"):
        await bench.create(other)
    expect_equal(await bench.state(), ended, "the ended instance")
    await bench.expect_nothing_ready("after a refused create")


@check("CREATE-4")
async def a_repeated_create_has_no_effect(bench: Bench) -> None:
    """The same incarnation again changes nothing, at any time."""
    new = await bench.create()
    before = await bench.state()
    bench.advance(SECOND)
    await bench.create(new)
    expect_equal(await bench.state(), before, "the instance after a repeat")
    turn = await bench.take()
    expect_equal(delivered(turn), ["start"], "the mailbox after a repeat")
    await bench.commit(turn, events=(b"1",))
    await bench.create(new)
    await bench.expect_nothing_ready("the start was consumed, then the create repeated")
    await bench.send(event("more"))
    turn = await bench.take()
    await bench.commit(turn, end=ExecutionEnd(status=InstanceStatus.FAILED, output=b"no"))
    ended = await bench.state()
    await bench.create(new)
    expect_equal(await bench.state(), ended, "the ended instance after a repeat")
    await bench.expect_nothing_ready("a create of an ended instance was repeated")


@check("CREATE-5")
async def waiting_events_follow_the_start(bench: Bench) -> None:
    """Events that waited for the id come after the start, in their order."""
    await bench.send(event("one"), event("two"))
    bench.advance(SECOND)
    await bench.send(event("three"))
    bench.advance(SECOND)
    await bench.create()
    expect_equal(
        delivered(await bench.take()), ["start", "one", "two", "three"], "the first turn's messages"
    )


@check("CREATE-6")
async def one_of_many_creates_wins(bench: Bench) -> None:
    """Of concurrent creates of one id exactly one succeeds."""
    objects = [bench.provider, await bench.open()]
    news = [new_instance(incarnation=f"i-{n}", data=b"%d" % n) for n in range(12)]
    outcomes = await bench.all_of(objects[n % 2].create_instance(new) for n, new in enumerate(news))
    won = [new for new, outcome in zip(news, outcomes, strict=True) if outcome is None]
    lost = [outcome for outcome in outcomes if isinstance(outcome, InstanceAlreadyExists)]
    expect_equal((len(won), len(lost)), (1, 11), "creates that succeeded and that were refused")
    turn = await bench.take()
    expect_equal(turn.state.incarnation, won[0].incarnation, "the incarnation that won")
    expect_equal(turn.messages, (won[0].start,), "the start that is delivered")


@check("CREATE-7")
async def a_cancelled_create_is_whole_or_nothing(bench: Bench) -> None:
    """A cancelled create leaves the instance with its start, or neither."""
    for steps in range(12):
        instance = f"alpha-{steps}"
        await bench.cancelled(bench.create(instance), steps=steps)
        exists = await bench.provider.read_instance(instance) is not None
        started = [turn.state.instance for turn in await bench.lease()]
        expect(
            exists == (instance in started),
            f"cancelled after {steps} steps: exists {exists}, leased {started}",
        )
