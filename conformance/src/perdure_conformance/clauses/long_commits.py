"""What a commit does with long lists: no entry of any field is left out.

Each function plays one field of a commit, and is part of the check of the clause about that field.
The lists are longer than what backends take in one request.
"""

from __future__ import annotations

from perdure.contract import ActivityLease, NewChild
from perdure.errors import ActivityLeaseLost

from perdure_conformance.bench import Bench
from perdure_conformance.expect import expect_equal, expect_refusal
from perdure_conformance.samples import (
    COMPLETED,
    LEASE,
    delivered,
    event,
    ids,
    new_instance,
    result,
    work,
)

LONG = 120
"""Longer than the lists that a transaction or a statement of many a storage takes."""
NAMES = tuple(f"n-{n:03}" for n in range(LONG))


async def expect_all_removed(bench: Bench) -> None:
    """Remove many messages, all but the last one."""
    many = 200
    await bench.create("removes")
    await bench.provider.send([event(f"e-{n:03}", "removes") for n in range(many)])
    turn = await bench.pick("removes")
    turn = await bench.keep(turn, remove=tuple(delivered(turn)[:-1]))
    expect_equal(delivered(turn), [f"e-{many - 1:03}"], f"left of {many + 1} messages")
    await bench.commit(turn, end=COMPLETED)


async def expect_all_added(bench: Bench) -> None:
    """Add many activities."""
    turn = await bench.with_activities(*map(work, NAMES), instance="adds")
    leased = await bench.lease_work(limit=2 * LONG)
    found = sorted(each.id for each in leased)
    expect_equal(found, sorted(NAMES), f"activities of a commit that adds {LONG}")
    await bench.commit(turn, end=COMPLETED)


async def expect_all_cancelled(bench: Bench) -> None:
    """Cancel many activities, all but the last one."""
    turn = await bench.with_activities(*map(work, NAMES), instance="cancels")
    turn = await bench.keep(turn, cancel=NAMES[:-1])
    found = [each.id for each in await bench.lease_work(limit=2 * LONG)]
    expect_equal(found, [NAMES[-1]], f"activities left where {LONG - 1} were cancelled")
    await bench.commit(turn, end=COMPLETED)


async def expect_last_lease_looked_at(bench: Bench) -> None:
    """Finish as many activities as `finish_limit` allows, of which the last lease is gone."""
    count = min(bench.provider.finish_limit, LONG)
    turn = await bench.with_activities(*map(work, NAMES[:count]), instance="finishes")
    leases = [each.lease for each in await bench.lease_work(limit=count)]
    last = leases[-1].activity
    wrong = ActivityLease(instance="finishes", activity=last, token="not mine")
    with expect_refusal(ActivityLeaseLost, f"a commit whose lease {count} is gone") as why:
        await bench.commit(turn, finish=(*leases[:-1], wrong))
    expect_equal(why.error.activities, (last,), f"activities named where lease {count} is gone")
    await bench.commit(turn, finish=tuple(leases), end=COMPLETED)


async def expect_all_sent(bench: Bench) -> None:
    """Send many messages, to the own mailbox and to others."""
    targets = NAMES[:12]
    await bench.all_well(bench.create(name) for name in targets)
    for other in await bench.lease():
        await bench.commit(other)
    turn = await bench.started("sends")
    own = [event(f"own-{name}", "sends") for name in NAMES]
    away = [event(f"e-{n}", target) for n in range(8) for target in targets]
    turn = await bench.keep(turn, send=(*own, *away))
    expect_equal(delivered(turn), ids(own), f"messages of a commit that sends {len(own + away)}")
    wanted = {target: [f"e-{n}" for n in range(8)] for target in targets}
    turns = {each.state.instance: each for each in await bench.lease()}
    found = {name: delivered(each) for name, each in turns.items()}
    expect_equal(found, wanted, f"messages to others of a commit that sends {len(own + away)}")
    await bench.all_well(bench.commit(each, end=COMPLETED) for each in (turn, *turns.values()))


async def expect_all_at_the_front(bench: Bench) -> None:
    """Put many messages to the front."""
    turn = await bench.started("fronts")
    await bench.send(event("usual", "fronts"))
    front = tuple(result(name, "fronts") for name in NAMES)
    turn = await bench.keep(turn, front=front)
    expect_equal(delivered(turn), [*NAMES, "usual"], f"a front of {LONG} messages")
    await bench.commit(turn, end=COMPLETED)


async def expect_all_created(bench: Bench) -> None:
    """Create many children, every third of which is refused."""
    names = NAMES[:30]
    for name in names[::3]:
        await bench.create(f"child-{name}")
    for other in await bench.lease():
        await bench.commit(other)
    turn = await bench.started("creates")
    children = [
        NewChild(
            instance=new_instance(f"child-{name}", incarnation=name, data=name.encode()),
            if_exists=result(f"told-{name}", "creates"),
        )
        for name in names
    ]
    commit = bench.draft(turn, create=tuple(children), keep_for=LEASE)
    answer = await bench.provider.commit_turn(commit)
    taken = {f"child-{name}" for name in names[::3]}
    expect_equal(sorted(answer.in_use), sorted(taken), f"in_use of {len(names)} children")
    told = sorted(f"told-{name}" for name in names[::3])
    expect_equal(sorted(ids(answer.messages)), told, "messages about ids in use")
    turns = {each.state.instance: each for each in await bench.lease()}
    wanted = {f"child-{name}" for name in names} - taken
    expect_equal(sorted(turns), sorted(wanted), f"children of a commit that creates {len(names)}")
    await bench.all_well(bench.commit(each, end=COMPLETED) for each in (turn, *turns.values()))
