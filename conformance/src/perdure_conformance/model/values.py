"""Values: what an instance keeps under keys, for readers outside it.

Keeps the clauses VALUES. The custom status is a plain field, which `turns` sets.
"""

from __future__ import annotations

from perdure.contract import InstanceValues, TurnCommit

from perdure_conformance.model.activities import Activities


class Values(Activities):
    """The rules for values."""

    def set_values(self, commit: TurnCommit) -> None:
        """Set and delete the values that a commit names; the others stay."""
        values = self.tables.values.setdefault(commit.instance, {})
        for key, value in commit.values.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value

    def count_values(self, instance: str) -> int:
        """How many values an instance has."""
        return len(self.tables.values.get(instance, {}))

    def read_values(self, instance: str, keys: frozenset[str] | None) -> InstanceValues | None:
        """The values of an instance, all or those that are asked for."""
        row = self.tables.instances.get(instance)
        if row is None:
            return None
        values = self.tables.values.get(instance, {})
        return InstanceValues(
            incarnation=row.state.incarnation,
            last_commit=row.state.last_commit,
            values={key: value for key, value in values.items() if keys is None or key in keys},
        )

    def drop_values(self, instance: str) -> None:
        """Drop all values of an instance."""
        self.tables.values.pop(instance, None)
