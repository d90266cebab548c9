"""Values and custom statuses: rows of their own, that cost their own size."""

import pytest
from perdure.contract import ExecutionEnd, InstanceStatus
from perdure.errors import StorageCorrupt, StorageFailed
from perdure_sqlite._testing.failing_statements import failing_statement

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
LARGE = bytes(64 * 1024)


async def commit(provider, make, turn, **fields) -> int:
    """Carry out a commit, and return how many pages it wrote to the log."""
    log = provider._options.file.with_name(f"{provider._options.file.name}-wal")
    before = log.stat().st_size
    (lease,) = await provider.lease_turns(make.request())
    given = {"expected_event": lease.state.last_event, "token": lease.token, **fields}
    await provider.commit_turn(make.commit(turn, **given))
    await provider.send([make.event("a")])
    return (log.stat().st_size - before) // 4120


async def test_a_change_of_a_value_costs_its_own_size_and_not_that_of_the_others(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    others = {f"{number}": LARGE for number in range(20)}
    await provider.commit_turn(make.commit(turn, values={"5a": b"small", **others}))
    await provider.send([make.event("a")])

    without = await commit(provider, make, turn)
    small = await commit(provider, make, turn, values={"5a": b"other"})
    large = await commit(provider, make, turn, values={"6": LARGE})

    assert small - without < 8
    assert 16 <= large - without < 40
    found = await provider.read_values("a", keys=frozenset({"5a", "7", "none"}))
    assert found.values == {"5a": b"other", "7": LARGE}


async def test_a_large_custom_status_costs_the_commits_after_it_nothing(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(make.commit(turn))
    await provider.send([make.event("a")])

    before = await commit(provider, make, turn)
    await commit(provider, make, turn, custom_status=LARGE)
    after = await commit(provider, make, turn)

    assert after <= before + 1
    state = await provider.read_instance("a")
    assert (state.custom_status, state.custom_status_version) == (LARGE, 1)


async def test_values_are_counted_as_they_come_and_go(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    counts = []
    for values in (
        {"a": b"1", "b": b"2", "c": b"3"},
        {"a": b"4", "d": b"5"},
        {"a": None, "b": None, "unknown": None, "e": b"6"},
        {"c": None, "d": None, "e": None},
    ):
        await provider.commit_turn(
            make.commit(turn, values=values, keep_for=make.request().lease_for)
        )
        found = await provider.read_values("a")
        counts.append(((await provider.read_instance("a")).value_count, len(found.values)))

    assert counts == [(3, 3), (4, 4), (3, 3), (0, 0)]


async def test_lost_values_are_damage(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(make.commit(turn, values={"a": b"1", "b": b"2"}))
    desk.raw().execute("DELETE FROM perdure_values WHERE key = 'a'")

    with pytest.raises(StorageCorrupt, match="instance 'a' is damaged: it has 1 values"):
        await provider.read_values("a")


async def test_values_and_status_come_with_the_commit_or_not_at_all(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    keep = make.request().lease_for
    await provider.commit_turn(
        make.commit(turn, custom_status=b"1", values={"a": b"1", "b": b"1"}, keep_for=keep)
    )
    change = make.commit(
        turn, custom_status=b"2", values={"a": b"2", "b": None, "c": b"2"}, keep_for=keep
    )

    for step in range(1, 50):
        with failing_statement(provider.transaction, step) as fails:
            try:
                await provider.commit_turn(change)
            except StorageFailed:
                state = await provider.read_instance("a")
                assert (state.custom_status, state.custom_status_version) == (b"1", 1)
                assert (await provider.read_values("a")).values == {"a": b"1", "b": b"1"}
        if not fails.reached:
            break

    await provider.commit_turn(change)
    state = await provider.read_instance("a")
    assert (state.custom_status, state.custom_status_version, state.value_count) == (b"2", 2, 2)
    assert (await provider.read_values("a")).values == {"a": b"2", "c": b"2"}


async def test_a_deletion_takes_values_and_status_along_part_by_part(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    values = {f"{number:03}": LARGE for number in range(40)}
    await provider.commit_turn(make.commit(turn, values=values, custom_status=LARGE, end=COMPLETED))
    removed: list[str] = []
    provider.opened.database.writer.set_trace_callback(
        lambda text: removed.append(text) if text.startswith("DELETE FROM perdure_values") else None
    )

    assert await provider.delete_instance("a", incarnation="one")

    assert len(removed) == 3
    raw = desk.raw()
    assert raw.execute("SELECT count(*) FROM perdure_values").fetchone() == (0,)
    assert raw.execute("SELECT count(*) FROM perdure_custom_statuses").fetchone() == (0,)
    assert await provider.read_values("a") is None
