"""The values and the custom status that a commit sets."""

from __future__ import annotations

from collections.abc import Mapping

from perdure_sqlite._sql.rows import InstanceRow
from perdure_sqlite._sql.values import (
    ADD_VALUE,
    COUNT_CUSTOM_STATUS,
    COUNT_VALUES,
    REMOVE_VALUE,
    SET_CUSTOM_STATUS,
)
from perdure_sqlite._writes.transaction import Transaction


def set_custom_status(transaction: Transaction, row: InstanceRow, data: bytes) -> None:
    """Set the custom status, and count that it was set."""
    transaction.execute(SET_CUSTOM_STATUS, (row.number, data))
    transaction.execute(COUNT_CUSTOM_STATUS, (row.number,))


def change_values(
    transaction: Transaction, row: InstanceRow, values: Mapping[str, bytes | None]
) -> None:
    """Set these values, delete those that are None, and leave the others."""
    number = row.number
    keys = [(number, key) for key in values]
    added = [(number, key, data) for key, data in values.items() if data is not None]
    # Removed and added again, the rows tell how many there were.
    removed = transaction.executemany(REMOVE_VALUE, keys).rowcount
    if added:
        transaction.executemany(ADD_VALUE, added)
    if len(added) != removed:
        transaction.execute(COUNT_VALUES, (len(added) - removed, number))
