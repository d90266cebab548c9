"""Executions in memory: kept between turns, begun by a start message, rebuilt from histories.

The cache is bounded; the least recently used execution goes first. An execution in it is confirmed
by the commit after which it was put there: if the instance was committed elsewhere since, as the
id of its last commit tells, the execution is dropped and rebuilt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace

from perdure import history
from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import OrchestrationDefinition
from perdure.clock import Instant
from perdure.contract.provider import Provider
from perdure.model.record import record
from perdure.model.wire import StartData, decode_start
from perdure.records.instances import InstanceState, Message
from perdure.records.limits import ENGINE
from perdure.replay.copying import copied_history
from perdure.replay.execution import PYTHON, STEP, Execution
from perdure.replay.signals import UndecodableData
from perdure.replay.surroundings import Surroundings
from perdure.runtime.bytes_in_flight import LARGE, BytesInFlight
from perdure.runtime.copies import Rewind, read_source, settle_fork
from perdure.runtime.held_instance import HeldInstance
from perdure.runtime.histories import read_history, read_values
from perdure.runtime.host_loop import Slice, run_in_slices
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.value_differences import ValueDifferences


class NotRegistered(Exception):  # a signal within the runtime
    """The version of the orchestration is not registered here."""


@record(kw_only=False)
class LiveExecution:
    """An execution in memory, and the commit that confirmed it."""

    execution: Execution
    last_commit: str | None

    def fits(self, state: InstanceState) -> bool:
        """Whether nothing was committed elsewhere since: by the commit's id, not by numbers."""
        started = self.execution.started
        return (
            self.last_commit == state.last_commit
            and started.incarnation == state.incarnation
            and started.execution == state.execution
        )


class ExecutionCache:
    """Takes in executions, and hands them out for a turn; never both at once.

    What they were given counts as bytes in flight.
    """

    def __init__(self, limit: int, in_flight: BytesInFlight) -> None:
        self._limit = limit
        self._in_flight = in_flight
        self._live: OrderedDict[str, LiveExecution] = OrderedDict()
        self.given = 0
        """How many bytes of payload the large ones were given, and those that wait under a lease."""

    def __len__(self) -> int:
        return len(self._live)

    def take(self, instance: str) -> LiveExecution | None:
        """Remove and return what is kept of this instance."""
        live = self._live.pop(instance, None)
        if live is not None and live.execution.given >= LARGE:
            self.given -= live.execution.given
        return live

    def put(self, instance: str, live: LiveExecution) -> None:
        """Keep it, until `too_many` says that it has to go."""
        self._live[instance] = live
        if live.execution.given >= LARGE:
            self.given += live.execution.given

    def too_many(self) -> Execution | None:
        """Remove and return one that has to go, to be discarded; None if all may stay."""
        if not self._live or (len(self._live) <= self._limit and self.fits):
            return None
        live = self.take(next(iter(self._live)))
        return None if live is None else live.execution

    @property
    def fits(self) -> bool:
        """Whether there is room for what they were given."""
        return not self.given or self.given <= self._in_flight.room_for_cached

    def clear(self) -> list[Execution]:
        """Remove all, to be discarded."""
        return [live.execution for name in tuple(self._live) if (live := self.take(name))]


class Executions:
    """The executions of one runtime. A leased instance has one in hand; the others are cached."""

    def __init__(
        self,
        provider: Provider,
        catalog: Catalog,
        options: RuntimeOptions,
        differences: ValueDifferences,
        in_flight: BytesInFlight,
    ) -> None:
        self._provider = provider
        self._catalog = catalog
        self._options = options
        self._differences = differences
        self._in_flight = in_flight
        self._cache = ExecutionCache(options.cache_size, in_flight)
        self._plain_surroundings = Surroundings(
            capabilities=provider.capabilities,
            provider=provider.description,
            park_on=options.park_on,
        )
        self.histories_read = 0

    def __len__(self) -> int:
        """How many are cached."""
        return len(self._cache)

    @property
    def given(self) -> int:
        """How many bytes of payload the cached ones were given, and those that wait under a lease."""
        return self._cache.given

    def begin_waiting(self, size: int) -> None:
        """An execution that was given so much waits under a lease; it has room with the cached ones."""
        self._cache.given += size

    def end_waiting(self, size: int) -> None:
        """It goes on."""
        self._cache.given -= size

    def has(self, name: str, version: str | None) -> bool:
        """Whether this version is registered here."""
        return self._catalog.orchestration(name, version) is not None

    async def load(self, state: InstanceState, *, wanted: Callable[[], bool]) -> Execution | None:
        """The execution of an instance, from the cache or rebuilt; None before its first turn.

        Raises `NotRegistered`, `HistoryMismatch`, `ForbiddenUse`, `UndecodableData`,
        `InstanceNotFound`, `ExecutionNotFound` or `ProviderError`; `NoLongerWanted` where `wanted`
        says so during a long replay.
        """
        live = self._cache.take(state.instance)
        if live is not None:
            if live.fits(state):
                return live.execution
            live.execution.discard()
        if state.last_event == 0:
            return None
        self.histories_read += 1
        events = await read_history(self._provider, state)
        definition = self._definition(state.name, _started_version(next(iter(events), None), state))
        around = self._surroundings(state, {})
        execution = await self._replay(Execution.rebuilding, events, definition, around, wanted)
        try:
            if state.value_count > execution.own_value_count:
                execution.inherit(await read_values(self._provider, state))
        except BaseException:
            execution.discard()
            raise
        return execution

    async def copy(
        self, message: Message, held: HeldInstance, *, wanted: Callable[[], bool]
    ) -> Execution:
        """A new execution from a start message that names a history to begin with.

        Raises `SourceGone`, and what `load` raises.
        """
        state, start = held.state, _decoded(message)
        copy = start.copy
        if copy is None:
            raise UndecodableData(f"start message {message.id!r} names no history to begin with")
        definition = self._definition(state.name, held.version)
        source = await read_source(self._provider, held, copy)
        at_cut = source.at_cut()
        events = copied_history(
            source.events, state, held.execution, definition.version, start, copy
        )
        around = self._surroundings(state, at_cut.values)
        execution = await self._replay(Execution.copying, events, definition, around, wanted)
        try:
            if execution.started.is_fork:
                settle_fork(execution, at_cut)
            else:
                await Rewind(self._provider, execution, source).settle(at_cut)
        except BaseException:
            execution.discard()
            raise
        return execution

    async def _replay(
        self,
        steps: Callable[..., Generator[None, None, Execution]],
        events: Iterable[history.Event],
        definition: OrchestrationDefinition,
        around: Surroundings,
        wanted: Callable[[], bool],
    ) -> Execution:
        slice_of_replay = Slice()

        def replay() -> Generator[None, None, Execution]:
            execution = yield from steps(
                events,
                definition,
                self._catalog,
                cleanup_timeout=self._options.cleanup_timeout,
                trace_paths=self._options.trace_paths,
                compare=self._options.compare,
                surroundings=around,
                step_ends=slice_of_replay.is_over,
            )
            self._differences.report(execution)
            return execution

        return await run_in_slices(replay(), wanted=wanted, of=slice_of_replay)

    def _surroundings(self, state: InstanceState, inherited: Mapping[str, str]) -> Surroundings:
        if not (state.labels or inherited):
            return self._plain_surroundings
        return replace(self._plain_surroundings, labels=state.labels, inherited=inherited)

    def begin(self, message: Message, held: HeldInstance, now: Instant) -> Execution:
        """A new execution from its start message; raises `NotRegistered`, `UndecodableData`."""
        state, start = held.state, _decoded(message)
        definition = self._definition(state.name, held.version)
        started = history.OrchestrationStarted(
            event_id=1,
            at=now,
            instance=state.instance,
            incarnation=state.incarnation,
            execution=held.execution,
            name=state.name,
            version=definition.version,
            input=start.input,
            python=PYTHON,
            engine=ENGINE,
            parent=state.parent,
            seen=start.seen,
            start_at=start.start_at,
            headers=start.headers or None,
        )
        return Execution.begin(
            started,
            definition,
            self._catalog,
            cleanup_timeout=self._options.cleanup_timeout,
            trace_paths=self._options.trace_paths,
            surroundings=self._surroundings(state, held.inherited),
            most=STEP,
        )

    def keep(self, instance: str, execution: Execution, last_commit: str | None) -> None:
        """Put an execution into the cache, confirmed by this commit."""
        self._cache.put(instance, LiveExecution(execution, last_commit))
        self.make_room()

    def make_room(self) -> bool:
        """Discard what the cache has no room for, the least recently used first.

        Returns whether what waits under leases has room then, too.
        """
        while (evicted := self._cache.too_many()) is not None:
            evicted.discard()
        return self._cache.fits

    def keep_none(self) -> None:
        """Cache nothing from now on: every lease rebuilds its execution. For tests."""
        self._cache = ExecutionCache(0, self._in_flight)

    def forget(self, instance: str) -> None:
        """Free what is cached of an instance."""
        live = self._cache.take(instance)
        if live is not None:
            live.execution.discard()

    def clear(self) -> None:
        """Free every cached execution."""
        for execution in self._cache.clear():
            execution.discard()

    def _definition(self, name: str, version: str | None) -> OrchestrationDefinition:
        definition = self._catalog.orchestration(name, version)
        if definition is None:
            raise NotRegistered(f"orchestration {name!r} version {version} is not registered here")
        return definition


def _decoded(message: Message) -> StartData:
    try:
        return decode_start(message.data)
    except ValueError as error:
        raise UndecodableData(f"start message {message.id!r}: {error}") from error


def _started_version(first: history.Event | None, state: InstanceState) -> str | None:
    return first.version if isinstance(first, history.OrchestrationStarted) else state.version
