"""Groups of writes: those that wait share one transaction, and one round trip.

While two groups are on their way, the writes that come meanwhile gather. A group has no two writes
of which one could change how the other is judged, so the database carries out each step for all of
them at once. It judges each write by itself, and the refusal of one leaves the others alone
(COMMIT-26).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast

from perdure.clock import Clock
from perdure.contract import CallGroups, Group, GroupedCall, Message, TurnCommit, in_tasks
from perdure.errors import PerdureError

from perdure_postgres._database import Database, Row
from perdure_postgres._errors import DamagedRecord, RowsHeld, provider_error
from perdure_postgres._held import HeldRows
from perdure_postgres._histories import RunningHistories
from perdure_postgres._rows import message_of
from perdure_postgres._waits import Waiter
from perdure_postgres._writes.changes import Change, Commit
from perdure_postgres._writes.document import Document

Result = TypeVar("Result")
Grouped: TypeAlias = GroupedCall[Change[object], object]

_GROUPS_AT_ONCE: Final = 2
"""One is carried out while the other is on the wire; more would only make the groups smaller."""


class _Undone(Exception):
    """A group was rolled back, and says nothing of a single write."""


class Writer:
    """Gathers the writes of a provider object into groups."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        function: str,
        namespace: int,
        durable: bool,
        on_write: Callable[[Sequence[Change[object]]], None],
        waiters: Callable[[str], Collection[Waiter]],
        held: HeldRows,
        histories: RunningHistories,
    ) -> None:
        self._database = database
        self._clock = clock
        self._statement = f"SELECT * FROM {function}(%s, %s, %s::jsonb, %b)"  # noqa: S608 # our own name
        self._namespace = namespace
        self._durable = durable
        self._on_write = on_write
        self._waiters = waiters
        self._held = held
        self._histories = histories
        self._groups = CallGroups[Change[object], object](
            in_tasks(self._carry_out), description=database.storage, at_once=_GROUPS_AT_ONCE
        )

    async def write(self, change: Change[Result]) -> Result:
        """Carry out a write; returns its result, or raises why it was refused."""
        ask = partial(self._groups.ask, change.operation, change)
        return cast("Result", await self._held.carry_out(change.instances, ask))

    async def drain(self) -> None:
        """Refuse new writes, and return when the others have been answered."""
        await self._groups.drain()

    async def _carry_out(self, group: Group[Change[object], object]) -> None:
        group.put_back(_free_of_conflicts(group.calls))
        try:
            rows = await self._fetch(group.calls)
        except RowsHeld as error:
            if len(group.calls) == 1:
                raise
            await self._leave_out_held(group, error)
            return
        self._record(group.calls, rows)
        self._on_write([each.call for each in group.calls])

    async def _leave_out_held(self, group: Group[Change[object], object], error: RowsHeld) -> None:
        """Refuse the writes whose rows are held, and put the others into the next group."""
        touched = frozenset[str]().union(*(each.call.instances() for each in group.calls))
        held = await self._held.look(touched)
        refused = [each for each in group.calls if not held.isdisjoint(each.call.instances())]
        if not refused:
            # What is in the way cannot be seen; so each is carried out by itself.
            raise _Undone from error
        group.calls.sort(key=lambda each: each not in refused)
        group.put_back(len(refused))
        for each in refused:
            each.refuse(RowsHeld(str(error), operation=each.operation))

    async def _fetch(self, group: Sequence[Grouped]) -> list[Row]:
        document = Document(self._clock.now())
        for each in group:
            change = each.call
            if isinstance(change, Commit) and change.commit.end is not None:
                change.history = self._histories.pack(change.commit)
                if change.ends:
                    change.waiters = self._waiters(change.instance)
            change.add_to(document)
        if not self._durable:
            document.mark("relaxed")
        document.mark("hurried")
        return await self._database.fetch(
            group[0].operation,
            self._statement,
            (self._namespace, document.now, document.text(), document.payloads),
            repeatable=True,
        )

    def _record(self, group: Sequence[Grouped], rows: Sequence[Row]) -> None:
        answers: dict[int, dict[str, Any]] = {}
        messages: dict[int, list[tuple[list[Any], bytes]]] = {}
        more: set[int] = set()
        for item, part, fields, data in rows:
            if part == 0:
                answers[item] = fields
            elif part == 1:
                messages.setdefault(item, []).append((fields, data))
            elif part == 2:
                more.add(item)
            else:
                cast("Commit", group[item - 1].call).tell(fields, data)
        for item, each in enumerate(group, 1):
            change = each.call
            try:
                delivered = _messages(change, messages.get(item, ()))
                each.succeed(change.answer(answers[item], delivered, item in more))
            except PerdureError as error:
                each.refuse(error)
                if isinstance(change, Commit):
                    self._histories.forget(change.instance, change.incarnation)
            except DamagedRecord as error:
                storage = self._database.storage
                each.refuse(provider_error(error, storage=storage, operation=each.operation))
            else:
                if isinstance(change, Commit):
                    self._learn(change.commit)

    def _learn(self, commit: TurnCommit) -> None:
        if commit.end is not None:
            self._histories.forget(commit.instance, commit.incarnation)
        else:
            self._histories.learn(
                commit.instance,
                commit.incarnation,
                commit.execution,
                commit.expected_event,
                commit.events,
            )


def _free_of_conflicts(group: Sequence[Grouped]) -> int:
    """How many of the first writes have no conflict with each other."""
    alone: set[Hashable] = set()
    shared: set[Hashable] = set()
    for place, each in enumerate(group):
        change = each.call
        if (
            not alone.isdisjoint(change.alone)
            or not alone.isdisjoint(change.shared)
            or not shared.isdisjoint(change.alone)
        ):
            return place
        alone |= change.alone
        shared |= change.shared
    return len(group)


def _messages(
    change: Change[object], delivered: Sequence[tuple[list[Any], bytes]]
) -> Sequence[Message]:
    if not delivered:
        return ()
    commit = cast("Commit", change)
    return [
        message_of(fields, data, commit.instance, commit.incarnation) for fields, data in delivered
    ]
