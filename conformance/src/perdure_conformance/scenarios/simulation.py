"""The simulation: runtimes, a client and one manual clock, on the storage of a bench.

A scenario starts nodes: runtimes, each with its own provider object, as in a process of its own. Time
moves only when nothing else does: the simulation waits until no call is under way and the event loop
has nothing to do, and then moves the clock to the next instant at which a sleep ends. So hours pass
in milliseconds, and a scenario can tell what needs the clock from what does not.

At the end of a scenario every history of every instance is inspected, and every ended execution is
replayed from its history with the code of one of the nodes.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar, cast

from perdure import Client, Registry, Runtime, RuntimeOptions
from perdure.authoring.catalog import Catalog
from perdure.clock import Clock, Instant, to_microseconds
from perdure.contract import (
    ENGINE,
    LISTING,
    MANAGEMENT,
    InstanceQuery,
    InstanceState,
    InstanceStatus,
    InstanceWork,
    Provider,
    StoredEvent,
    hookimpl,
)
from perdure.errors import PerdureError
from perdure.history import Event, OrchestrationStarted, decode_event
from perdure.model.details import ErrorDetails
from perdure.model.status import Completed, Failed
from perdure.observe import RuntimeEvent

from perdure_conformance.bench import Bench
from perdure_conformance.check import Check, check
from perdure_conformance.expect import ClauseBroken, expect, expect_equal
from perdure_conformance.inspection import inspect_instance
from perdure_conformance.scenarios.link import Link
from perdure_conformance.scenarios.simulation_clocks import SimulationClock

T = TypeVar("T")
E = TypeVar("E", bound=Event)
O = TypeVar("O", bound=RuntimeEvent)  # noqa: E741 # an observed event

POLL = timedelta(seconds=4)
"""The poll interval of idle runtimes, unless a scenario says another."""
SELDOM = timedelta(seconds=60)
"""The one of scenarios in which nodes are idle for most of an hour: each poll takes real time."""
SOON = timedelta(seconds=5)
"""Longer than a poll, and shorter than a lease."""
LIMIT = timedelta(minutes=10)
"""How much time may pass on the clock before a scenario gives up."""
_PATIENCE = 60.0
"""Real seconds after which a scenario gives up on calls that do not end, or on nothing that moves."""
_PATIENCE_WITH_WAITS = 5.0
"""Real seconds for which a wait that does not sleep on the clock counts as reading."""
_QUIET_ROUNDS = 5
"""Rounds of the event loop without any call or callback after which nothing moves."""


class RecordingObserver:
    """An observer that records all events."""

    def __init__(self) -> None:
        self.events: list[RuntimeEvent] = []

    @hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        """Keep the event."""
        self.events.append(event)

    def saw(self, kind: type[O]) -> list[O]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


class Node:
    """One process: a runtime with its own link to the storage."""

    def __init__(
        self, simulation: Simulation, runtime: Runtime, link: Link, provider: Provider
    ) -> None:
        self.runtime = runtime
        self.link = link
        self.gone = False
        self._simulation = simulation
        self._provider = provider

    async def stop(self) -> None:
        """Close it as its owner would."""
        self.gone = True
        await self._simulation.run(self.runtime.__aexit__(None, None, None), "the end of a runtime")
        await self._simulation.bench.close(self._provider)

    def crash(self) -> None:
        """Kill it: it gives nothing back, and nothing that it still does has an effect."""
        self.link.cut()

    async def dispose(self) -> None:
        """Free its resources, whether it runs, has stopped or has crashed."""
        if not self.gone:
            self.gone = True
            self.link.dispose()
            await self._simulation.run(
                self.runtime.__aexit__(None, None, None), "the disposal of a runtime"
            )


class Simulation:
    """See the module; `scenario` makes one for every scenario."""

    def __init__(self, bench: Bench, clock: SimulationClock) -> None:
        self.bench = bench
        self.clock = clock
        self.link = Link(bench.provider)
        """The client's link."""
        self.client = Client(self.link)
        self.observer = RecordingObserver()
        """Observes every node."""
        self._deployed: list[Catalog] = []
        """The code of each node, with which histories are replayed at the end."""
        self._nodes: list[Node] = []

    # Nodes

    async def node(
        self,
        *registries: Registry,
        options: RuntimeOptions | None = None,
        resources: object = None,
        clock: Clock | None = None,
        engine: int = ENGINE,
        poll: timedelta = POLL,
    ) -> Node:
        """Start a runtime that has these registries; with another engine, an older release of it."""
        provider = await self.bench.open(clock=clock)
        link = Link(provider, engine)
        options = replace(options or RuntimeOptions(), poll_interval=poll)
        runtime = Runtime(
            link, *registries, options=options, plugins=[self.observer], resources=resources
        )
        node = Node(self, runtime, link, provider)
        await runtime.__aenter__()
        self._nodes.append(node)
        self._deployed.append(Catalog(registries))
        return node

    async def dispose(self) -> None:
        """Dispose of all nodes."""
        for node in self._nodes:
            await node.dispose()

    # Time

    async def settle(self) -> None:
        """Return when nothing moves any more while the clock stands still."""
        calm = 0
        patience = time.monotonic() + _PATIENCE_WITH_WAITS
        async with self._given_up_after_a_while():
            while calm < _QUIET_ROUNDS:
                if self._is_busy:
                    # What a wait reads takes as long as all else where the machine is loaded.
                    patience = time.monotonic() + _PATIENCE_WITH_WAITS
                if self._is_quiet(patience):
                    calm += 1
                    await asyncio.sleep(0)
                elif _has_ready_callbacks():
                    calm = 0
                    await asyncio.sleep(0)
                else:
                    calm = 0
                    # A thread or a socket is at work; do not spin meanwhile.
                    await asyncio.sleep(0.0002)

    @asynccontextmanager
    async def _given_up_after_a_while(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(_PATIENCE):
                yield
        except TimeoutError:
            raise ClauseBroken(
                f"something still moves after {_PATIENCE:g} s of real time, although the clock stands"
                " still"
            ) from None

    @property
    def _links(self) -> list[Link]:
        return [self.link, *(node.link for node in self._nodes)]

    @property
    def _is_busy(self) -> bool:
        return any(link.busy for link in self._links)

    def _is_quiet(self, patience: float) -> bool:
        if self._is_busy or _has_ready_callbacks():
            return False
        # A provider may wait in a way that does not show whether it sleeps.
        return not any(link.looking for link in self._links) or time.monotonic() > patience

    async def until(
        self,
        condition: Callable[[], bool | Awaitable[bool]],
        what: str,
        *,
        within: timedelta | None = None,
    ) -> timedelta:
        """Let time pass until the condition holds; returns how much did.

        Raises `ClauseBroken` when it does not hold in time.
        """
        within = LIMIT if within is None else within
        began = self.clock.now()
        end = began + to_microseconds(within)
        while True:
            await self.settle()
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return timedelta(microseconds=self.clock.now() - began)
            if self.clock.now() >= end:
                left = await self.left_to_do()
                raise ClauseBroken(f"{what}: not within {within} on the clock{left}")
            await self._step(end, what)

    async def run(self, work: Awaitable[T], what: str, *, within: timedelta | None = None) -> T:
        """Let time pass until the awaitable is done; returns its result."""
        task = asyncio.ensure_future(work)
        try:
            await self.until(task.done, what, within=within)
            return await task
        finally:
            task.cancel()

    async def meanwhile(self, work: Awaitable[None], action: Callable[[], object]) -> None:
        """Let time pass until `work` is done, and do something once it has begun."""

        async def act() -> None:
            await self.clock.sleep(timedelta(seconds=1))
            action()

        acting = asyncio.ensure_future(act())
        await work
        await self.run(acting, "what was to be done meanwhile")

    async def pass_time(self, duration: timedelta) -> None:
        """Let this much time pass, and everything happen that is due in it."""
        end = self.clock.now() + to_microseconds(duration)
        while self.clock.now() < end:
            await self.settle()
            due = self.clock.next_due
            self._advance_to(end if due is None else min(due, end))
        await self.settle()

    async def jump(self, duration: timedelta) -> None:
        """Let this much time pass in one step, as when no process runs over night."""
        await self.settle()
        self.clock.advance(duration)
        await self.settle()

    async def _step(self, end: Instant, what: str) -> None:
        patience = time.monotonic() + _PATIENCE
        while (due := self.clock.next_due) is None:
            # A task that is about to sleep may not have come to it yet.
            if time.monotonic() > patience:
                raise ClauseBroken(f"{what}: nothing moves, and nothing waits for the clock")
            await asyncio.sleep(0.001)
        self._advance_to(min(due, end))

    def _advance_to(self, instant: Instant) -> None:
        self.clock.advance(timedelta(microseconds=max(0, instant - self.clock.now())))

    # Instances

    async def output(self, instance: str, *, within: timedelta | None = None) -> object:
        """The decoded output of an instance, once it has completed."""
        status = await self.ended(instance, within=within)
        if isinstance(status, Failed):
            raise ClauseBroken(f"instance {instance!r} failed: {status.details.display_message()}")
        return cast("object", json.loads(status.output))

    async def failure(self, instance: str, *, within: timedelta | None = None) -> ErrorDetails:
        """Why an instance failed, once it has."""
        status = await self.ended(instance, within=within)
        if isinstance(status, Completed):
            raise ClauseBroken(f"instance {instance!r} completed with {status.output:.80}")
        return status.details

    async def ended(self, instance: str, *, within: timedelta | None = None) -> Completed | Failed:
        """The final status of an instance, once there is one."""
        what = f"the end of instance {instance!r}"
        await self.until(lambda: self.have_ended(instance), what, within=within)
        return await self.client.wait_for_orchestration(instance, 0)

    async def left_to_do(self) -> str:
        """What running instances have still to do, which tells a lost message from a lost wake-up."""
        if not self.bench.backend.declaration.capabilities >= {LISTING, MANAGEMENT}:
            return ""
        admin = self.bench.admin
        running = InstanceQuery(statuses=frozenset({InstanceStatus.RUNNING}))
        told: list[str] = []
        try:
            async with asyncio.timeout(_PATIENCE_WITH_WAITS):
                page = await admin.find_instances(running, limit=5)
                for state in page.instances:
                    work = await admin.read_work(state.instance)
                    if work is not None:
                        told.append(described(state, work))
        except (PerdureError, TimeoutError) as error:
            told.append(f"what is left could not be read: {error!r}")
        return "".join(f"\n  {line}" for line in told)

    async def have_ended(self, *instances: str) -> bool:
        """Whether all these instances have ended."""
        for instance in instances:
            state = await self.bench.provider.read_instance(instance)
            if state is None or state.status is InstanceStatus.RUNNING:
                return False
        return True

    async def state(self, instance: str) -> InstanceState:
        """The plain fields of an instance that exists."""
        return await self.bench.state(instance)

    async def history(self, instance: str, execution: int = 1) -> list[Event]:
        """The history of an execution so far."""
        state = await self.state(instance)
        stored: Sequence[StoredEvent] = await self.bench.history(
            instance, execution, incarnation=state.incarnation
        )
        return [decode_event(event.number, event.data) for event in stored]

    async def recorded(self, instance: str, kind: type[E], execution: int = 1) -> list[E]:
        """The events of one kind in a history."""
        events = await self.history(instance, execution)
        return [event for event in events if isinstance(event, kind)]

    async def until_recorded(
        self, instance: str, kind: type[Event], count: int = 1, *, within: timedelta | None = None
    ) -> timedelta:
        """Let time pass until the first execution's history has so many events of a kind."""

        async def enough() -> bool:
            if await self.bench.provider.read_instance(instance) is None:
                return False  # a child that its parent has yet to start
            return len(await self.recorded(instance, kind)) >= count

        what = f"{count} {kind.__name__} in the history of {instance!r}"
        return await self.until(enough, what, within=within)

    async def inspect(self) -> None:
        """Complain about everything that is wrong with any history."""
        admin = self.bench.provider.as_management_capability()
        if admin is None:
            return
        token: str | None = None
        while True:
            page = await admin.list_instances(limit=1000, token=token)
            for instance in page.ids:
                await self._inspect(instance)
            token = page.next_token
            if token is None:
                return

    async def _inspect(self, instance: str) -> None:
        state = await self.state(instance)
        histories = [
            await self.history(instance, execution) for execution in range(1, state.execution + 1)
        ]
        for execution, events in enumerate(histories, 1):
            later = histories[execution] if execution < len(histories) else ()
            is_rewound = execution < len(histories) and (not later or _is_copy(later[0]))
            faults = inspect_instance(
                state, execution, events, self._deployed, is_rewound=is_rewound
            )
            expect_equal(faults, [], f"faults in execution {execution} of {instance!r}")


def _is_copy(event: Event) -> bool:
    return isinstance(event, OrchestrationStarted) and event.copied_from is not None


ScenarioBody = Callable[[Simulation], Awaitable[None]]


def scenario(
    id: str, *, needs: str | tuple[str, ...] = (), tampering: str | None = None
) -> Callable[[ScenarioBody], Check]:
    """Make a check of an async function that is given a simulation; its docstring is the promise."""

    def made(body: ScenarioBody) -> Check:
        async def run(bench: Bench) -> None:
            async with open_simulation(bench) as simulation:
                await body(simulation)
                await simulation.settle()
                await simulation.inspect()

        run.__doc__ = body.__doc__
        return check(id, needs=needs, tampering=tampering)(run)

    return made


@asynccontextmanager
async def open_simulation(bench: Bench) -> AsyncGenerator[Simulation]:
    """A simulation without nodes; what was started on it is freed at the end."""
    bench.clock = clock = SimulationClock()
    bench.provider = await bench.open()
    simulation = Simulation(bench, clock)
    try:
        yield simulation
    finally:
        await simulation.dispose()


def _has_ready_callbacks() -> bool:
    """Whether anything else is about to run in this round of the event loop."""
    # There is no public interface for it; without it a chain of callbacks would look quiet.
    return bool(getattr(asyncio.get_running_loop(), "_ready", ()))


def expect_soon(took: timedelta, what: str, limit: timedelta = SOON) -> None:
    """Complain unless it took no longer than a poll."""
    expect(took <= limit, f"{what} took {took} on the clock, expected {limit} at most")


def described(state: InstanceState, work: InstanceWork) -> str:
    """Where an instance stands, and what it has still to do."""
    parked = f", parked as {state.parked.reason!r}" if state.parked is not None else ""
    leased = ", leased" if work.leased_until is not None else ""
    messages, activities = (
        [each.id for each in work.messages],
        [each.id for each in work.activities],
    )
    return (
        f"{state.instance!r} runs at event {state.last_event}{parked}{leased}, with messages"
        f" {messages} and activities {activities}"
    )
