"""CALL-7: payloads are kept exactly, wherever a call takes one.

Every place that a payload may have is played with small payloads that a storage may change, and with
large ones. A payload must come back as `bytes`, since callers hash and decode it.
"""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import (
    MANAGEMENT,
    ActivityCompletion,
    ExecutionEnd,
    InstanceStatus,
    LeasedTurn,
    NewChild,
)

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import ClauseBroken, expect, expect_equal, shortened
from perdure_conformance.samples import event, new_instance, restart, result, work

LARGEST = 16 * 1024 * 1024 + 64 * 1024
EVERY_BYTE = bytes(range(256)) * 2

SMALL = {
    "empty": b"",
    "odd": b"\0 \xff" + EVERY_BYTE + b"\r\n\0",
    "text": b' {"b": 1,\r\n "a": 1.0} \n',
}
"""Payloads that a storage changes if it decodes, encodes, strips or formats them."""

LARGE = EVERY_BYTE * 900
"""About 460,000 bytes: more than one record of many a storage holds."""


@check("CALL-7")
async def payloads_are_kept_exactly(bench: Bench) -> None:
    """Any bytes, no bytes, and 16 MiB come back unchanged."""
    for name, data in SMALL.items():
        await every_place(bench, name, data)
    await every_place(bench, "large", LARGE)
    await largest_places(bench, EVERY_BYTE * (LARGEST // len(EVERY_BYTE)))


def expect_kept(found: bytes | None, data: bytes, what: str) -> None:
    """Complain unless a payload came back as it was."""
    expect(type(found) is bytes, f"the {what} came back as {type(found).__name__}, not as bytes")
    if found != data:
        raise ClauseBroken(
            f"the {what} came back changed: {shortened(found)}, expected {shortened(data)}"
        )


async def every_place(bench: Bench, name: str, data: bytes) -> None:
    """Take a payload through every place that a call may give it."""
    turn = await created_places(bench, name, data)
    turn = await committed_places(bench, turn, name, data)
    job = await bench.take_work()
    expect_kept(job.data, data, f"{name} input of an activity")
    done = result("done", name, data=data)
    await bench.provider.complete_activity(ActivityCompletion(lease=job.lease, message=done))
    turn = await bench.keep(turn)
    found = only(turn, "done")
    expect_kept(found["done"], data, f"{name} message of a completion")
    again = replace(restart(2, name), data=data)
    own = result("own", name, execution=2, data=data)
    end = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=data)
    turn = await bench.keep(turn, end=end, front=(again,), send=(own,))
    found = only(turn, "start-2", "own")
    expect_kept(found["start-2"], data, f"{name} start of an execution")
    expect_kept(found["own"], data, f"{name} message to the own mailbox")
    await bench.commit(turn, end=ExecutionEnd(status=InstanceStatus.COMPLETED, output=data))
    await expect_outputs(bench, name, data)
    events = [each.data for each in await bench.history(name)]
    expect_equal(len(events), 2, f"events of the {name} instance")
    expect_kept(events[0], data, f"{name} event of a history")


async def created_places(bench: Bench, name: str, data: bytes) -> LeasedTurn:
    """Starts and events; returns the turn of the first instance, and leaves the others without work."""
    names = (name, f"{name}-other", f"{name}-taken")
    await bench.all_well(bench.create(new_instance(each, data=data)) for each in names)
    await bench.send(event("event", name, data=data))
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    found = only(turns[name], "start", "event")
    expect_kept(found["start"], data, f"{name} start")
    expect_kept(found["event"], data, f"{name} event")
    await bench.all_well(bench.commit(turns[each]) for each in names[1:])
    return turns[name]


async def committed_places(bench: Bench, turn: LeasedTurn, name: str, data: bytes) -> LeasedTurn:
    """What a commit adds, sends, creates and puts to the front."""
    child = new_instance(f"{name}-child", data=data)
    refused = NewChild(
        instance=new_instance(f"{name}-taken", incarnation="other"),
        if_exists=result("in use", name, data=data),
    )
    turn = await bench.keep(
        turn,
        events=(data, b"next"),
        add=(work("job", data=data),),
        send=(event("sent", f"{name}-other", data=data),),
        front=(event("front", name, data=data),),
        create=(NewChild(instance=child), refused),
    )
    found = only(turn, "front", "in use")
    expect_kept(found["front"], data, f"{name} message put to the front")
    expect_kept(found["in use"], data, f"{name} message about an id in use")
    others = {turn.state.instance: turn for turn in await bench.lease()}
    expect_equal(sorted(others), [f"{name}-child", f"{name}-other"], "instances with work")
    found = only(others[f"{name}-other"], "sent")
    expect_kept(found["sent"], data, f"{name} message that a commit sends")
    found = only(others[f"{name}-child"], "start")
    expect_kept(found["start"], data, f"{name} start of a child")
    return turn


def only(turn: LeasedTurn, *ids: str) -> dict[str, bytes]:
    """The payloads of a turn's messages by their ids, which must be these."""
    found = {message.id: message.data for message in turn.messages}
    expect_equal(sorted(found), sorted(ids), f"messages of {turn.state.instance!r}")
    return found


async def expect_outputs(bench: Bench, name: str, data: bytes) -> None:
    """Complain unless the outputs of an instance and of its two executions are this."""
    expect_kept((await bench.state(name)).output, data, f"{name} output of an instance")
    if MANAGEMENT not in bench.backend.declaration.capabilities:
        return
    states = await bench.admin.list_executions(name)
    expect_equal([each.execution for each in states], [1, 2], f"executions of {name}")
    for state in states:
        expect_kept(state.output, data, f"{name} output of execution {state.execution}")


async def largest_places(bench: Bench, data: bytes) -> None:
    """Take the largest payload through a start, a history, an activity and an output."""
    await bench.create(new_instance(data=data))
    turn = await bench.take()
    expect_kept(turn.messages[0].data, data, "largest start")
    turn = await bench.keep(turn, events=(data, b"next"), add=(work("job", data=data),))
    activity = await bench.take_work()
    expect_kept(activity.data, data, "largest input of an activity")
    history = [each.data for each in await bench.history()]
    expect_kept(history[0], data, "largest event of a history")
    await bench.commit(turn, end=ExecutionEnd(status=InstanceStatus.FAILED, output=data))
    expect_kept((await bench.state()).output, data, "largest output")
