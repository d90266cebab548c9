"""What a runtime says of its health, and which storage it refuses to serve."""

from __future__ import annotations

from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.errors import StorageClosed, StorageFailed
from perdure.runtime.repeated_failures import RepeatedFailures
from perdure_sqlite import SQLiteOptions, SQLiteProvider

from .faulty import Fault, FaultyProvider
from .manual_time import rounds

app = perdure.Registry()
OPTIONS = RuntimeOptions(shutdown_grace=timedelta(0))


@app.orchestration
async def hello(ctx: perdure.OrchestrationContext) -> str:
    return "hello"


@pytest.fixture
async def inner(clock: perdure.ManualClock):
    async with perdure.open_provider("memory://", clock=clock) as opened:
        yield opened


async def test_a_runtime_is_healthy_as_long_as_its_block_lasts(inner) -> None:
    runtime = Runtime(inner, app, options=OPTIONS)
    before = runtime.healthy
    async with runtime:
        inside = runtime.healthy
    after = runtime.healthy

    assert (before, inside, after) == (False, True, False)
    assert runtime.statistics.last_error is None


@pytest.mark.parametrize("fault", ["is throttled", "fails for good", "has a bug"])
async def test_while_lease_calls_fail_it_is_not_healthy_and_says_which(
    inner, clock: perdure.ManualClock, fault: Fault
) -> None:
    provider = FaultyProvider(inner, fault)
    async with Runtime(provider, app, options=OPTIONS) as runtime:
        await rounds()
        provider.method = "lease_turns"
        await perdure.Client(inner).start_orchestration("i", hello)
        clock.advance(timedelta(seconds=1))
        await rounds()
        during, error = runtime.healthy, runtime.statistics.last_error
        provider.mend()
        clock.advance(timedelta(seconds=2))
        await rounds()

        assert not during
        assert error is not None
        assert error.operation == "lease_turns"
        assert error.at == clock.now() - 2_000_000
        assert runtime.healthy
        assert runtime.statistics.last_error == error


async def test_a_failure_that_nothing_repeats_is_forgotten_after_a_minute(
    inner, clock: perdure.ManualClock
) -> None:
    provider = FaultyProvider(inner, "fails for good", "commit_turn")
    async with Runtime(provider, app, options=OPTIONS) as runtime:
        await perdure.Client(inner).start_orchestration("i", hello)
        await rounds()
        at_once = runtime.healthy
        clock.advance(timedelta(seconds=61))  # nothing of the runtime runs before the next look

        assert not at_once
        assert runtime.healthy


async def test_damage_of_one_instance_leaves_a_runtime_healthy(inner, clock) -> None:
    class Damaged(FaultyProvider):
        async def commit_turn(self, commit):
            raise perdure.StorageCorrupt("a row is damaged", operation="commit_turn")

    async with Runtime(Damaged(inner, "is throttled"), app, options=OPTIONS) as runtime:
        await perdure.Client(inner).start_orchestration("i", hello)
        await rounds()
        error = runtime.statistics.last_error

        assert runtime.healthy
        assert error is not None
        assert (error.operation, error.message) == ("commit_turn", "a row is damaged")


async def test_a_runtime_on_a_provider_that_was_never_opened_refuses_to_enter(tmp_path) -> None:
    runtime = Runtime(SQLiteProvider(SQLiteOptions(path=tmp_path / "x.db")), app)

    with pytest.raises(StorageClosed, match="is not open"):
        async with runtime:
            raise AssertionError("it must not be entered")
    assert not runtime.healthy


@pytest.mark.parametrize("fault", ["fails for good", "has a bug"])
async def test_a_runtime_on_a_storage_that_fails_for_good_refuses_to_enter(
    inner, fault: Fault
) -> None:
    runtime = Runtime(FaultyProvider(inner, fault, "read_instance"), app)

    with pytest.raises(StorageFailed):
        async with runtime:
            raise AssertionError("it must not be entered")
    assert not runtime.healthy


async def test_a_storage_that_was_out_of_reach_only_at_the_start_leaves_a_runtime_healthy(
    inner,
) -> None:
    provider = FaultyProvider(inner, "is throttled", "read_instance")
    async with Runtime(provider, app, options=OPTIONS) as runtime:
        await rounds()
        error = runtime.statistics.last_error

        assert error is not None
        assert error.operation == "read_instance"
        assert runtime.healthy


def test_a_call_that_fails_again_and_again_is_logged_once_for_each_reason_and_then_rarely(
    clock: perdure.ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    failures = RepeatedFailures("leasing turns", clock)
    for second in range(3600):
        failures.failed(StorageFailed("the file was replaced", operation="lease_turns"))
        if second == 100:
            failures.failed(StorageFailed("the disk is full", operation="lease_turns"))
        clock.advance(1)

    told = [record.getMessage() for record in caplog.records]
    assert len(told) < 15
    assert told[0] == "leasing turns failed: the file was replaced"
    assert "the disk is full" in " ".join(told)
    assert "times more since it was logged" in told[-1]


def test_a_call_that_has_succeeded_meanwhile_is_logged_when_it_fails_again(
    clock: perdure.ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    failures = RepeatedFailures("leasing turns", clock)
    for _ in range(2):
        failures.failed(StorageFailed("throttled", operation="lease_turns"))
        failures.succeeded()

    assert len(caplog.records) == 2
