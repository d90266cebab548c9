"""Removing what belongs to an instance, in parts.

A part is bounded in rows and in bytes, since the pages of large payloads are freed one by one. An
instance that is larger than one part is hidden first, and recorded in a table of removals. The parts
that follow are short transactions of their own, and any process continues with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from perdure_sqlite._schema.ready_index import ALWAYS
from perdure_sqlite._sql.deletions import (
    ADD_REMOVAL,
    EVENT_SIZES,
    EXECUTION_SIZES,
    HIDE_INSTANCE,
    NEXT_REMOVAL,
    READ_LABELS,
    REMOVE_CUSTOM_STATUS,
    REMOVE_EARLIER_EVENTS,
    REMOVE_EVENTS,
    REMOVE_EXECUTIONS,
    REMOVE_INSTANCE,
    REMOVE_LABEL,
    REMOVE_REMOVAL,
    REMOVE_VALUES,
    VALUE_SIZES,
)
from perdure_sqlite._sql.rows import InstanceRow, labels_of
from perdure_sqlite._writes.transaction import Transaction

ROWS_PER_PART: Final = 1000
_BYTES_PER_PART: Final = 1024 * 1024
"""About two milliseconds of work; the rows of a part take one."""


class Part:
    """How much more the current transaction may remove."""

    def __init__(self) -> None:
        self.rows = ROWS_PER_PART
        self._bytes = _BYTES_PER_PART

    @property
    def is_full(self) -> bool:
        """Whether no more is to be removed."""
        return self.rows <= 0 or self._bytes <= 0

    def take(self, rows: Iterable[Sequence[object]]) -> tuple[list[Sequence[object]], bool]:
        """The first of these rows that fit, and whether these are all; the last column is a size."""
        taken: list[Sequence[object]] = []
        for row in rows:
            if self.is_full:
                return taken, False
            size = row[-1]
            self.rows -= 1
            self._bytes -= size if isinstance(size, int) else 0
            taken.append(row)
        return taken, True


def discard(transaction: Transaction, row: InstanceRow, part: Part | None = None) -> None:
    """Delete an instance that has no messages and no activities."""
    part = part or Part()
    part.rows -= 1
    transaction.forget_row(row.id)
    _remove_labels(transaction, row)
    if _remove_belongings(transaction, row.number, part):
        _remove_row(transaction, row.number)
    else:
        transaction.execute(HIDE_INSTANCE, (row.number,))
        transaction.execute(ADD_REMOVAL, (row.number,))
    transaction.note_change(row.id)


def remove_executions(transaction: Transaction, number: int, before: int) -> None:
    """Remove the executions before this one, which is the first to stay."""
    if not _prune(transaction, number, before, Part()):
        transaction.execute(ADD_REMOVAL, (number,))


def continue_removals(transaction: Transaction) -> None:
    """Remove one part of what deletions have left."""
    part = Part()
    while not part.is_full:
        found = transaction.execute(NEXT_REMOVAL, (1,)).fetchone()
        if found is None:
            return
        number, namespace, first_execution = found
        part.rows -= 1
        if namespace is not None and namespace > 0:
            if _prune(transaction, number, first_execution, part):
                transaction.execute(REMOVE_REMOVAL, (number,))
        elif _remove_belongings(transaction, number, part):
            _remove_row(transaction, number)


def _remove_labels(transaction: Transaction, row: InstanceRow) -> None:
    created_at, text = transaction.execute(READ_LABELS, (row.number,)).fetchone()
    if text is not None:
        transaction.executemany(
            REMOVE_LABEL,
            [
                (transaction.namespace, key, value, created_at, row.number)
                for key, value in labels_of(row.id, text).items()
            ],
        )


def _remove_belongings(transaction: Transaction, number: int, part: Part) -> bool:
    """Remove as much as fits into the part; returns whether nothing is left."""
    is_all, _ = _remove_history(transaction, number, ALWAYS, part)
    return is_all and _remove_values(transaction, number, part)


def _prune(transaction: Transaction, number: int, before: int, part: Part) -> bool:
    """The same for the executions of an instance that stays."""
    is_all, count = _remove_history(transaction, number, before, part)
    if count:
        transaction.execute(REMOVE_EARLIER_EVENTS, (count, number))
    return is_all


def _remove_history(
    transaction: Transaction, number: int, before: int, part: Part
) -> tuple[bool, int]:
    """Whether nothing is left, and how many events the removed executions had."""
    sizes = transaction.execute(EVENT_SIZES, (number, before, part.rows + 1))
    events, is_all = part.take(sizes)
    if events:
        execution, event, _ = events[-1]
        transaction.execute(REMOVE_EVENTS, (number, execution, event))
    if not is_all:
        return False, 0
    sizes = transaction.execute(EXECUTION_SIZES, (number, before, part.rows + 1))
    executions, is_all = part.take(sizes)
    if executions:
        transaction.execute(REMOVE_EXECUTIONS, (number, executions[-1][0]))
    return is_all, sum(count for _, count, _ in executions if isinstance(count, int))


def _remove_values(transaction: Transaction, number: int, part: Part) -> bool:
    sizes = transaction.execute(VALUE_SIZES, (number, part.rows + 1))
    values, is_all = part.take(sizes)
    if values:
        transaction.execute(REMOVE_VALUES, (number, values[-1][0]))
    if is_all:
        transaction.execute(REMOVE_CUSTOM_STATUS, (number,))
    return is_all


def _remove_row(transaction: Transaction, number: int) -> None:
    transaction.execute(REMOVE_INSTANCE, (number,))
    transaction.execute(REMOVE_REMOVAL, (number,))
