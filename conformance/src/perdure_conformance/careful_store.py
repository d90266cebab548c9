"""A storage that can be spoiled and can fail: the model with both, and a provider that is right about it.

`Careful` notices damage, and takes back what a failing step has left of a call. Broken providers are
careless in one respect.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from perdure.clock import Clock
from perdure.contract import (
    ActivityRequest,
    CommitAnswer,
    HistoryPage,
    InstanceReopening,
    InstanceState,
    LeasedActivity,
    LeasedTurn,
    NewInstance,
    Provider,
    TurnCommit,
    TurnRequest,
)
from perdure.errors import StorageCorrupt, StorageFailed, StorageUnavailable

from perdure_conformance.broken_providers import Broken, StoreBackend, breaks
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model.tables import InstanceRow, Tables
from perdure_conformance.tampering import (
    FAILING_STEPS,
    LOST_EVENTS,
    RAW_HISTORY,
    SPOILED_INSTANCES,
    STORAGE_ERRORS,
    Outage,
)

T = TypeVar("T")

ALL = frozenset({FAILING_STEPS, LOST_EVENTS, RAW_HISTORY, SPOILED_INSTANCES, STORAGE_ERRORS})

CUT = Outage(name="the connection is cut", passes=True)
DENIED = Outage(name="access is denied", passes=False)
RAISED = {CUT: ConnectionResetError("connection reset by peer"), DENIED: PermissionError("denied")}
"""What the driver of a store raises."""


def busy(operation: str) -> StorageUnavailable:
    """The error of a step that fails."""
    return StorageUnavailable("the disk is busy", operation=operation)


class Careful(Store):
    """Notices what is lost and what is spoiled, and takes back a call one of whose steps fails."""

    def __init__(self) -> None:
        super().__init__()
        self.spoiled: set[str] = set()
        self.until_failure: int | None = None

    def read_history(
        self, instance: str, execution: int, incarnation: str, after: int
    ) -> HistoryPage:
        row = self.execution_row(instance, execution)
        if row is not None and len(row.events) != row.state.event_count:
            raise StorageCorrupt(f"{instance!r} lacks an event", operation="read_history")
        return super().read_history(instance, execution, incarnation, after)

    def read_instance(self, instance: str) -> InstanceState | None:
        if instance in self.spoiled:
            raise StorageCorrupt(f"{instance!r} is spoiled", operation="read_instance")
        return super().read_instance(instance)

    def is_ready(self, row: InstanceRow) -> bool:
        return row.state.instance not in self.spoiled and super().is_ready(row)

    def whole(self, make: Callable[[], T], take_back: Callable[[Tables], T]) -> T:
        """Make changes; where a step of them fails, take them back."""
        before = copy.deepcopy(self.tables)
        try:
            return make()
        except StorageUnavailable:
            return take_back(before)

    def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        return self.whole(lambda: Store.lease_turns(self, request), self.take_back_look)

    def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        return self.whole(lambda: Store.lease_activities(self, request), self.take_back_look)

    def take_back_look(self, before: Tables) -> tuple[()]:
        """Take back the leases of a look for work."""
        self.end_failed_look(before)
        raise busy("lease_turns")

    def end_failed_look(self, before: Tables) -> None:
        """Go back to what was there before the look."""
        self.tables = before

    def carry_out(self, row: InstanceRow, commit: TurnCommit) -> CommitAnswer:
        return self.whole(
            lambda: Store.carry_out(self, row, commit),
            lambda before: self.take_back_commit(before, commit),
        )

    def take_back_commit(self, before: Tables, commit: TurnCommit) -> CommitAnswer:
        """Take back a commit or a termination."""
        del commit
        self.tables = before
        raise busy("commit_turn")

    def reopen(self, row: InstanceRow, reopening: InstanceReopening) -> None:
        self.whole(
            lambda: Store.reopen(self, row, reopening),
            lambda before: self.take_back_reopening(before, reopening),
        )

    def take_back_reopening(self, before: Tables, reopening: InstanceReopening) -> None:
        """Take back a reopening."""
        del reopening
        self.tables = before
        raise busy("reopen_instance")

    def create_instance(self, new: NewInstance) -> None:
        self.whole(lambda: Store.create_instance(self, new), self.take_back_deletion)

    def delete(self, row: InstanceRow) -> None:
        self.whole(lambda: Store.delete(self, row), self.take_back_deletion)

    def prune_executions(self, instance: str, incarnation: str, before: int) -> int:
        return self.whole(
            lambda: Store.prune_executions(self, instance, incarnation, before),
            self.take_back_pruning,
        )

    def take_back_deletion(self, before: Tables) -> None:
        """Take back a deletion, or a creation."""
        self.tables = before
        raise busy("delete_instance")

    def take_back_pruning(self, before: Tables) -> int:
        """Take back the deletion of executions."""
        self.tables = before
        raise busy("prune_executions")

    def step(self) -> None:
        """Fail, if it is the turn of this step."""
        if self.until_failure is not None:
            self.until_failure -= 1
            if self.until_failure == 0:
                raise busy("a step")


def _in_a_step(name: str) -> Callable[..., object]:
    method = getattr(Store, name)

    def made(self: Careful, *arguments: object) -> object:
        self.step()
        return method(self, *arguments)

    return made


for _name in (
    "append_events",
    "set_fields",
    "set_values",
    "end_execution",
    "create_child",
    "put",
    "put_front",
    "drop_void",
    "drop_void_activities",
    "settle_lease",
    "give_turn",
    "give_activity",
    "leave_execution",
    "set_reopened",
    "begin_execution",
    "end_lease",
    "drop_messages",
    "drop_activities",
    "drop_values",
    "drop_executions",
    "add_instance",
):
    setattr(Careful, _name, _in_a_step(_name))


class CarefulProvider(ModelProvider):
    """Reaches its store by a connection, whose errors it translates."""

    def __init__(self, store: Store, *, clock: Clock, description: str) -> None:
        super().__init__(store, clock=clock, description=description)
        self.connection = Connection()

    def at_present(self) -> Store:
        try:
            self.connection.use()
        except OSError as error:
            raise self.translated(error) from error
        return super().at_present()

    def translated(self, error: OSError) -> Exception:
        """The error of the contract for one of the driver."""
        kind = StorageFailed if isinstance(error, PermissionError) else StorageUnavailable
        return kind(f"the store is away: {error}", operation="any")


class Connection:
    """A connection to a store, whose outages it counts in accesses."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.until_outage = 0
        self.reached = False

    def use(self) -> None:
        """One access; raises as the driver does in an outage."""
        self.until_outage -= 1
        if self.error is not None and self.until_outage <= 0:
            self.reached = True
            raise self.error


@dataclass(slots=True)
class FailingStep:
    """A step that has to fail."""

    reached: bool = False


class DamagedBackend(StoreBackend):
    """A backend over careful stores, with all tampering."""

    outages = (CUT, DENIED)

    def __init__(
        self, store: type[Careful] = Careful, provider: type[CarefulProvider] = CarefulProvider
    ) -> None:
        super().__init__(store, provider, tampering=ALL)

    async def spoil_instance(self, namespace: str, instance: str) -> None:
        """Make the plain fields of an instance invalid."""
        self.careful(self._stores[namespace]).spoiled.add(instance)

    @contextmanager
    def fail_at(self, provider: Provider, step: int) -> Generator[FailingStep]:
        """Make one step of the provider's store fail."""
        if not isinstance(provider, ModelProvider):
            raise TypeError(f"{provider!r} has no store in which a step could fail")
        store, failing = self.careful(provider.at_present()), FailingStep()
        store.until_failure = step
        try:
            yield failing
        finally:
            failing.reached, store.until_failure = store.until_failure <= 0, None

    @contextmanager
    def break_storage(
        self, provider: Provider, outage: Outage, *, step: int
    ) -> Generator[Connection]:
        """Make the accesses of a provider object fail from this step on."""
        if not isinstance(provider, CarefulProvider):
            raise TypeError(f"{provider!r} has no connection that could be cut")
        connection = provider.connection
        connection.error, connection.until_outage = RAISED[outage], step
        connection.reached = False
        try:
            yield connection
        finally:
            connection.error = None

    def careful(self, store: Store) -> Careful:
        """The store, which is a careful one."""
        if not isinstance(store, Careful):
            raise TypeError(f"{type(store).__name__} is no careful store")
        return store


def breaks_storage(*clauses: str) -> Callable[[type[Careful] | type[CarefulProvider]], Broken]:
    """Mark a kind of careful store, or of careful provider, as one that breaks these clauses."""

    def marked(kind: type[Careful] | type[CarefulProvider]) -> Broken:
        if issubclass(kind, CarefulProvider):
            return replace(breaks(*clauses)(kind), make=lambda: DamagedBackend(provider=kind))
        return replace(breaks(*clauses)(kind), make=lambda: DamagedBackend(kind))

    return marked
