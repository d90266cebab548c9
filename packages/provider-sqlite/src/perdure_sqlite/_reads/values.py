"""The values of an instance, all or some of them."""

from __future__ import annotations

from perdure.contract import InstanceValues

from perdure_sqlite._file.errors import DamagedRecord
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._sql.values import FIND_WITH_VALUES, READ_VALUE, READ_VALUES


def read_values(
    reader: Reader, instance: str, keys: frozenset[str] | None
) -> InstanceValues | None:
    """The values with these keys, or all, as one commit left them; None if there is no instance."""
    with reader.snapshot():
        found = reader.execute(FIND_WITH_VALUES, (reader.namespace, instance)).fetchone()
        if found is None:
            return None
        number, incarnation, last_commit, count = found
        if keys is None:
            values = dict(reader.execute(READ_VALUES, (number,)).fetchall())
            if len(values) != count:
                raise DamagedRecord(
                    instance, f"it has {len(values)} values, and should have {count}"
                )
        else:
            values = dict(
                row for key in keys for row in reader.execute(READ_VALUE, (number, key)).fetchall()
            )
    return InstanceValues(incarnation=incarnation, last_commit=last_commit, values=values)
