"""The workloads of the stress command: the calls that a runtime makes most.

Each operation creates as much work as it takes. It takes the work that comes first, as runtimes do,
also work that another caller has created.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRequest,
    ExecutionEnd,
    InstanceStatus,
    LeasedActivity,
    LeasedTurn,
    NewActivity,
    Provider,
    TurnCommit,
    TurnRequest,
)

from perdure_conformance.samples import LEASE, SERVES, WORK, event, new_instance, result, work

Step = Callable[[Provider, int], Awaitable[None]]
DONE = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
PAYLOAD = b"x" * 200
BETWEEN_LOOKS = 0.002
"""Seconds between two looks for work that another caller has taken, or is about to add."""


async def create(provider: Provider, number: int) -> None:
    """Create an instance."""
    await provider.create_instance(new_instance(f"created-{number}", data=PAYLOAD))


async def look(provider: Provider, number: int) -> None:
    """Read the plain fields of an instance."""
    await provider.read_instance(f"created-{number % 50}")


async def send(provider: Provider, number: int) -> None:
    """Send an event."""
    await provider.send([event(f"e-{number}", f"ghost-{number % 10}", data=PAYLOAD)])


async def turn(provider: Provider, number: int) -> None:
    """Create an instance, lease a turn, and commit its end."""
    await provider.create_instance(new_instance(f"turn-{number}", data=PAYLOAD))
    await commit(provider, await lease(provider, f"t-{number}"), end=DONE)


async def chain(provider: Provider, number: int) -> None:
    """An instance with three activities that the committing process runs itself."""
    await provider.create_instance(new_instance(f"chain-{number}", data=PAYLOAD))
    turn = await lease(provider, f"t-{number}")
    await commit(provider, turn, add=job(0, lease=True))
    for step in range(1, 3):
        await commit(provider, turn, expected=step, finish=step, add=job(step, lease=True))
    await commit(provider, turn, expected=3, finish=3, end=DONE)


async def fetch(provider: Provider, number: int) -> None:
    """An instance with an activity that is leased, completed, and taken in by a second turn."""
    await provider.create_instance(new_instance(f"fetch-{number}", data=PAYLOAD))
    await first_or_second_turn(provider, f"t-{number}-1")
    # Each operation completes one activity, whose it may be; else one would be left for ever.
    leased = await lease_work(provider, f"w-{number}")
    outcome = result("done", leased.instance, data=PAYLOAD)
    await provider.complete_activity(ActivityCompletion(lease=leased.lease, message=outcome))
    await first_or_second_turn(provider, f"t-{number}-2")


async def first_or_second_turn(provider: Provider, token: str) -> None:
    """Schedule the activity, or take its result in."""
    turn = await lease(provider, token)
    if turn.state.last_event == 0:
        await commit(provider, turn, add=job(0), keep=False)
    else:
        await commit(provider, turn, expected=1, end=DONE)


WORKLOADS: Sequence[Step] = (create, look, send, turn, chain, fetch)


async def lease(provider: Provider, token: str) -> LeasedTurn:
    """Lease a turn. Each caller has created an instance before, so there is one for it."""
    request = TurnRequest(token=token, limit=1, lease_for=LEASE, serves=SERVES)
    while True:
        for leased in await provider.lease_turns(request):
            return leased
        await asyncio.sleep(BETWEEN_LOOKS)


async def lease_work(provider: Provider, token: str) -> LeasedActivity:
    """Lease an activity. Each caller has made a turn before, so there is one for it, or will be."""
    request = ActivityRequest(token=token, limit=1, lease_for=LEASE, names=WORK)
    while True:
        for leased in await provider.lease_activities(request):
            return leased
        await asyncio.sleep(BETWEEN_LOOKS)


def job(step: int, *, lease: bool = False) -> NewActivity:
    """An activity."""
    return work(str(step), data=PAYLOAD, lease=lease)


async def commit(
    provider: Provider,
    turn: LeasedTurn,
    *,
    expected: int = 0,
    finish: int | None = None,
    add: NewActivity | None = None,
    end: ExecutionEnd | None = None,
    keep: bool = True,
) -> None:
    """Commit one event and what comes with it."""
    instance = turn.state.instance
    finished = ActivityLease(instance=instance, activity=str((finish or 0) - 1), token=turn.token)
    await provider.commit_turn(
        TurnCommit(
            id=f"{instance}-{expected}",
            instance=instance,
            incarnation=turn.state.incarnation,
            token=turn.token,
            execution=1,
            expected_event=expected,
            events=(PAYLOAD,),
            remove=tuple(message.id for message in turn.messages),
            finish=() if finish is None else (finished,),
            add=() if add is None else (add,),
            activity_token=turn.token,
            activity_lease_for=LEASE,
            end=end,
            keep_for=LEASE if keep and end is None else None,
        )
    )
