"""Wrappers of providers: every call passes one seam, and a wrapper that measures changes nothing."""

from __future__ import annotations

import asyncio
import inspect
from datetime import timedelta
from typing import TypeVar

import perdure
import pytest
from perdure.contract import (
    ActivityLease,
    DelegatingProvider,
    Provider,
    ProviderCall,
    StorageUnavailable,
    TurnLease,
)
from perdure_memory import MemoryOptions, MemoryProvider, drop

R = TypeVar("R")
HOLDER = "t"

METHODS = sorted(
    name for name, member in vars(Provider).items() if inspect.iscoroutinefunction(member)
)
app = perdure.Registry()


@app.activity
async def double(value: int) -> int:
    return 2 * value


@app.orchestration
async def ordered(ctx: perdure.OrchestrationContext) -> int:
    await ctx.schedule_wait("go")
    return await ctx.schedule_activity(double, 21)


class Recorder(DelegatingProvider):
    """Records the calls that pass the seam."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.passed: list[tuple[str, object]] = []

    async def around(self, operation: str, call: ProviderCall[R]) -> R:
        self.passed.append((operation, call.argument))
        return await call()


class Echo(MemoryProvider):
    """Returns what it was called with."""


def echo(name: str):
    async def method(self, *arguments: object, **options: object) -> object:
        return name, arguments, options

    return method


for each in METHODS:
    setattr(Echo, each, echo(each))


@pytest.mark.parametrize("name", METHODS)
async def test_every_call_passes_the_seam_once_and_reaches_the_inner_provider_as_it_was(name):
    provider = Recorder(Echo())
    arguments = {
        "read_history": ("a", 2),
        "delete_namespace": (),
        "begin_transaction": (),
        "complete_in_transaction": ("first", "second"),
    }.get(name, ("first",))
    options = {
        "read_history": {"incarnation": "n", "after": 3},
        "begin_transaction": {"blocking": True},
        "roll_back": {"in_use": True},
        "delete_instance": {"incarnation": "n"},
        "prune_executions": {"incarnation": "n", "before": 3},
        "delete_early_events": {"arrived_before": 4, "limit": 5},
        "read_values": {"keys": frozenset({"k"})},
        "renew_turns": {"lease_for": timedelta(seconds=1)},
        "renew_activities": {"lease_for": timedelta(seconds=1)},
    }.get(name, {})

    answer = await getattr(provider, name)(*arguments, **options)

    expected = None if name in RETURN_NOTHING else (name, arguments, options)
    assert answer == expected
    assert provider.passed == [(name, arguments[0] if arguments else None)]


RETURN_NOTHING = {
    name
    for name in METHODS
    if inspect.signature(getattr(Provider, name)).return_annotation in ("None", None)
}


async def test_a_wrapper_can_fail_and_repeat_calls():
    class Repeats(DelegatingProvider):
        async def around(self, operation: str, call: ProviderCall[R]) -> R:
            if operation == "read_instance":
                raise StorageUnavailable("not now", operation=operation)
            await call()
            return await call()

    lease = TurnLease(instance="a", token=HOLDER)
    provider = Repeats(MemoryProvider())

    with pytest.raises(StorageUnavailable):
        await provider.read_instance("a")
    assert await provider.renew_turns([lease], lease_for=timedelta(seconds=1)) == {lease}


class Quiet(MemoryProvider):
    """Tells of nothing."""

    capabilities = frozenset({"recovery"})
    finish_limit = 99
    tells_of_work = False
    tells_of_changes = False
    tells_of_cancellations = False


@pytest.mark.parametrize("inner", [MemoryProvider(), Quiet()], ids=["tells", "quiet"])
async def test_a_wrapper_passes_on_what_the_provider_says_of_itself(inner):
    outer = Recorder(Recorder(inner))

    for name in (
        "capabilities",
        "finish_limit",
        "tells_of_work",
        "tells_of_changes",
        "tells_of_cancellations",
    ):
        assert getattr(outer, name) == getattr(inner, name)
    for name in ("clock", "description", "event_loop", "notifier"):
        assert getattr(outer, name) is getattr(inner, name)
    assert outer.as_management_capability() is inner.as_management_capability()


async def test_a_wrapper_that_only_measures_leaves_all_waits_prompt():
    # Two provider objects, which share no notifier, on a clock that stands still: a wait that polls
    # would last for ever.
    clock = perdure.ManualClock()
    options = MemoryOptions(name="measured waits")
    workers, callers = (Recorder(MemoryProvider(options, clock=clock)) for _ in range(2))
    client = perdure.Client(callers)
    async with perdure.Runtime(workers, app):
        await client.start_orchestration("a", ordered)
        waiting = asyncio.ensure_future(client.wait_for_orchestration("a"))
        await client.raise_event("a", "go")
        status = await asyncio.wait_for(waiting, 5)
    drop("measured waits")

    assert status == perdure.Completed(output="42")
    assert clock.now() == perdure.ManualClock().now()
    assert "wait_for_work" in {name for name, _ in workers.passed}
    assert "wait_for_change" in {name for name, _ in callers.passed}


async def test_the_loss_of_a_lease_is_told_through_a_wrapper_at_once():
    lease = ActivityLease(instance="a", activity="1:2", token=HOLDER)
    provider = Recorder(MemoryProvider(clock=perdure.ManualClock()))
    wait = perdure.contract.CancellationWait(leases=(lease,), timeout=timedelta(minutes=1))

    assert await asyncio.wait_for(provider.wait_for_cancellation(wait), 5) == {lease}
