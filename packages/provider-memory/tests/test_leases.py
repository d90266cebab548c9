"""Who gets which lease: matching, counting, expiry, clocks that differ or step back."""

from datetime import timedelta

import pytest
from perdure.contract import (
    LONGEST_LEASE,
    ManualClock,
    ParkedMark,
    Serves,
    TurnLease,
    TurnRelease,
)
from perdure.errors import InvalidDuration, LeaseLost
from perdure_conformance.samples import COMPLETED
from perdure_memory import MemoryOptions, drop

SECOND = timedelta(seconds=1)


def release(turn, **fields):
    lease = TurnLease(instance=turn.state.instance, token=turn.token)
    return TurnRelease(lease=lease, **fields)


def instances(turns):
    return [turn.state.instance for turn in turns]


async def test_the_same_token_finds_its_leases_again_uncounted_with_the_same_end(bench):
    await bench.create("a")
    await bench.create("b")
    first = await bench.lease("mine", limit=1)
    bench.clock.advance(5 * SECOND)
    again = await bench.lease("mine", limit=2)

    assert instances(again) == ["a", "b"]
    assert (again[0].attempt, again[0].until) == (1, first[0].until)


async def test_attempts_count_leases_since_the_last_commit(bench):
    await bench.create()
    first = await bench.lease_one()
    bench.clock.advance(30 * SECOND)
    second = await bench.lease_one()
    await bench.provider.release_turn(release(second, counted=False))
    third = await bench.lease_one()
    await bench.provider.release_turn(release(third))
    fourth = await bench.lease_one()

    assert [turn.attempt for turn in (first, second, third, fourth)] == [1, 2, 2, 3]


async def test_the_end_of_an_instance_forgets_the_lease_that_was_taken_over(bench):
    await bench.create()
    first = await bench.lease_one("first")
    bench.clock.advance(30 * SECOND)
    second = await bench.lease_one("second")
    await bench.commit(second, end=COMPLETED)
    await bench.provider.release_turn(release(first, counted=False))

    work = await bench.provider.as_management_capability().read_work("a")
    assert work.attempt == 0


async def test_a_kept_lease_counts_as_one_attempt(bench):
    await bench.create()
    turn = await bench.lease_one()
    await bench.commit(turn, remove=(), keep_for=30 * SECOND)
    bench.clock.advance(30 * SECOND)

    assert (await bench.lease_one()).attempt == 2


async def test_an_expired_lease_is_renewed_used_and_given_back_while_no_other_took_the_instance(
    bench,
):
    await bench.create()
    turn = await bench.lease_one()
    bench.clock.advance(60 * SECOND)
    lease = TurnLease(instance="a", token=turn.token)

    assert await bench.provider.renew_turns([lease], lease_for=SECOND) == set()
    assert await bench.lease() == []
    bench.clock.advance(60 * SECOND)
    await bench.commit(turn, remove=(), keep_for=SECOND)
    bench.clock.advance(60 * SECOND)
    await bench.provider.release_turn(release(turn, counted=False))
    assert (await bench.lease_one()).attempt == 1


async def test_a_lease_left_by_a_clock_that_stepped_back_is_free_to_take_and_stands_until_then(
    bench,
):
    await bench.create()
    turn = await bench.lease_one()
    bench.clock.step_back(3600 * SECOND)

    await bench.commit(turn, remove=(), keep_for=30 * SECOND)
    bench.clock.step_back(3600 * SECOND)
    assert (await bench.lease_one()).attempt == 2
    with pytest.raises(LeaseLost):
        await bench.commit(turn)


async def test_a_delay_left_by_a_clock_that_stepped_back_is_void(bench):
    await bench.create()
    await bench.provider.release_turn(release(await bench.lease_one(), delay=30 * SECOND))
    assert await bench.lease() == []
    bench.clock.step_back(3600 * SECOND)

    assert instances(await bench.lease()) == ["a"]


async def test_a_small_step_back_leaves_leases_alone(bench):
    await bench.create()
    turn = await bench.lease_one()
    bench.clock.step_back(30 * SECOND)

    assert await bench.lease() == []
    await bench.commit(turn)


async def test_a_delay_hides_the_instance_and_what_arrives_meanwhile(bench):
    await bench.create()
    await bench.provider.release_turn(release(await bench.lease_one(), delay=10 * SECOND))
    await bench.provider.send([bench.message("meanwhile")])

    bench.clock.advance(9 * SECOND)
    assert await bench.lease() == []
    bench.clock.advance(SECOND)
    assert [each.id for each in (await bench.lease_one()).messages] == ["start", "meanwhile"]


async def test_parked_keeps_the_time_of_the_first_mark_for_a_reason_until_a_commit(bench):
    await bench.create()
    found = []
    for reason in ("first", "first", "second"):
        mark = ParkedMark(reason=reason, details="")
        await bench.provider.release_turn(release(await bench.lease_one(), parked=mark))
        found.append((await bench.provider.read_instance("a")).parked.since)
        bench.clock.advance(SECOND)
    now = bench.clock.now()
    assert [(now - since) // 1_000_000 for since in found] == [3, 3, 1]

    await bench.commit(await bench.lease_one())
    assert (await bench.provider.read_instance("a")).parked is None


async def test_pinned_instances_go_to_those_who_have_the_version(bench):
    await bench.create("pinned", version="1.0.0")
    await bench.create("free")

    def serves(*versions):
        return Serves(orchestrations={"order": frozenset(versions)})

    assert instances(await bench.lease(serves=serves("2.0.0"))) == ["free"]
    assert instances(await bench.lease(serves=serves("1.0.0"))) == ["pinned"]


async def test_a_newer_engine_is_never_leased_not_as_unregistered_either(bench):
    await bench.create("newer", engine=1000)
    bench.clock.advance(3600 * SECOND)

    assert await bench.lease() == []
    assert await bench.lease(unregistered_for=SECOND, names=()) == []


async def test_unregistered_work_comes_after_its_time_and_after_what_matches(bench):
    await bench.create("strange", name="strange")
    assert await bench.lease(unregistered_for=10 * SECOND) == []
    bench.clock.advance(10 * SECOND)
    await bench.create("known")

    turns = await bench.lease(unregistered_for=10 * SECOND)
    assert [(turn.state.instance, turn.served) for turn in turns] == [
        ("known", True),
        ("strange", False),
    ]
    await bench.provider.release_turn(release(turns[1], counted=False))
    assert await bench.lease(unregistered_for=10 * SECOND) == []
    bench.clock.advance(10 * SECOND)
    assert len(await bench.lease(unregistered_for=10 * SECOND, names=())) == 1


async def test_the_longest_ready_comes_first_whatever_its_name(bench):
    for number, name in enumerate(["one", "two", "one", "two"]):
        await bench.create(str(number), name=name)

    leased = [instances(await bench.lease(limit=1, names=("two", "one"))) for _ in range(4)]
    assert leased == [["0"], ["1"], ["2"], ["3"]]


async def test_two_clocks_that_differ_never_share_a_lease_for_long(new_bench):
    ahead_clock = ManualClock()
    ahead_clock.advance(5 * SECOND)
    options = MemoryOptions(name="skew")
    right, ahead = new_bench(options), new_bench(options, ahead_clock)
    await right.create()
    turn = await right.lease_one("right", lease_for=10 * SECOND)

    assert await ahead.lease() == []
    for bench in (right, ahead):
        bench.clock.advance(6 * SECOND)
    taken = await ahead.lease_one("ahead")
    with pytest.raises(LeaseLost):
        await right.commit(turn)
    await ahead.commit(taken)
    drop("skew")


async def test_a_provider_whose_clock_is_behind_leaves_a_timer_to_its_time(new_bench):
    ahead_clock = ManualClock()
    ahead_clock.advance(5 * SECOND)
    options = MemoryOptions(name="skew")
    behind, ahead = new_bench(options), new_bench(options, ahead_clock)
    await behind.create()
    await behind.commit(
        await behind.lease_one(), send=(behind.message("timer", visible_at=behind.after(3)),)
    )
    assert await ahead.lease(names=()) == []

    assert await behind.lease() == []
    behind.clock.advance(3 * SECOND)
    assert len(await behind.lease()) == 1
    drop("skew")


@pytest.mark.parametrize("lease_for", [timedelta(0), -SECOND, LONGEST_LEASE + SECOND])
async def test_impossible_durations_of_leases_are_refused(bench, lease_for):
    await bench.create()

    with pytest.raises(InvalidDuration, match="lease"):
        await bench.lease(lease_for=lease_for)


async def test_too_long_a_delay_is_refused_and_the_lease_stays(bench):
    await bench.create()
    turn = await bench.lease_one()

    with pytest.raises(InvalidDuration, match="delay"):
        await bench.provider.release_turn(release(turn, delay=LONGEST_LEASE + SECOND))
    await bench.commit(turn)


@pytest.mark.slow
async def test_ten_thousand_sleeping_and_strange_instances_do_not_slow_a_lease(bench):
    for number in range(10_000):
        await bench.create(f"strange {number}", name=f"strange {number % 7}")
    for number in range(100):
        await bench.create(f"known {number}")

    leased = [turn for _ in range(10) for turn in await bench.lease(limit=10)]
    assert instances(leased) == [f"known {number}" for number in range(100)]
