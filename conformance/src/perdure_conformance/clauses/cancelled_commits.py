"""COMMIT-25: commits that are cancelled, at each step of the event loop."""

from __future__ import annotations

from collections.abc import Iterator

from perdure.contract import ExecutionEnd, NewChild

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import expect_equal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    delivered,
    event,
    new_instance,
    restart,
    work,
)


def rounds() -> Iterator[tuple[int, ExecutionEnd | None]]:
    """After how many steps to cancel, and what the commit ends: everything at the first steps."""
    ends = (None, AGAIN, COMPLETED)
    for steps in range(16):
        for place, end in enumerate(ends):
            if steps < 4 or steps % len(ends) == place:
                yield steps, end


@check("COMMIT-25")
async def a_cancelled_commit_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a commit is cancelled, all of it happened or nothing."""
    for steps, end in rounds():
        name = f"i-{steps:02}-{end and end.status}"
        turn = await bench.with_activities(work("old"), instance=name)
        await bench.send(event("read", name))
        old = (await bench.lease_work())[0]
        front = (event("front", name),)
        commit = bench.commit(
            turn,
            events=(b"2",),
            remove=("read",),
            finish=(old.lease,),
            add=(work("new"),),
            send=(event("sent", f"{name}-child"),),
            create=(NewChild(instance=new_instance(f"{name}-child")),),
            front=(restart(2, name), *front) if end is AGAIN else front,
            end=end,
        )
        await bench.cancelled(commit, steps=steps)
        happened = len(await bench.history(name)) == 2
        await expect_whole(bench, name, old.token, end if happened else None, happened=happened)


async def expect_whole(
    bench: Bench, name: str, token: str, end: ExecutionEnd | None, *, happened: bool
) -> None:
    """Complain unless each effect of the cancelled commit is there, or none."""
    said = f"cancelled commit that {'took' if happened else 'took no'} effect"
    state = await bench.state(name)
    place = (2, 0) if end is AGAIN else (1, 2 if happened else 1)
    expect_equal(
        (state.execution, state.last_event), place, f"execution, last event after a {said}"
    )
    ended = COMPLETED.status if end is COMPLETED else None
    expect_equal(state.output, COMPLETED.output if ended else None, f"output after a {said}")
    child = await bench.provider.read_instance(f"{name}-child")
    expect_equal(child is not None, happened, f"child after a {said}")
    found = [each.id for each in await bench.lease_work()]
    added = ["new"] if happened and end is None else []
    expect_equal(found, added, f"activities added by a {said}")
    held = await bench.lease_work(token=token)
    expect_equal([e.id for e in held], [] if happened else ["old"], f"activity left by a {said}")
    bench.advance(LEASE)
    ready = {turn.state.instance: turn for turn in await bench.lease()}
    boxes = {instance: delivered(turn) for instance, turn in ready.items()}
    wanted = {name: ["read"]}
    if happened:
        wanted = {f"{name}-child": ["start", "sent"]}
        if end is not COMPLETED:
            wanted[name] = ["start-2", "front"] if end is AGAIN else ["front"]
    expect_equal(boxes, wanted, f"mailboxes after a {said}")
    await bench.all_well(bench.commit(turn, end=COMPLETED) for turn in ready.values())
