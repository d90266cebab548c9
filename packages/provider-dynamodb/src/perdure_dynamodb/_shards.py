"""A namespace's settings: how many shards its queues have, and which opening this is.

The number of shards may grow while processes are running. Readers look into the larger number
as soon as they know of it; writers use it only after a grace in which every reader has learned
of it, so nothing is ever put where no reader looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds
from perdure.errors import StorageFailed

from perdure_dynamodb._keys import Keys, shard_of
from perdure_dynamodb._options import DEFAULT_SHARDS
from perdure_dynamodb._table import Table, Update
from perdure_dynamodb._values import Row

REFRESH = timedelta(seconds=30)
"""So often a process looks for new settings."""
GRACE = timedelta(seconds=90)
"""So long after a growth the old number is written to."""

_SORT = "A"


@dataclass(frozen=True, slots=True)
class _Settings:
    old: int
    new: int
    grown_at: Instant
    has_links: bool = False

    def written(self, now: Instant) -> int:
        return self.new if now >= self.grown_at + to_microseconds(GRACE) else self.old


class Shards:
    """The settings as this process knows them."""

    def __init__(self, table: Table, keys: Keys, *, clock: Clock) -> None:
        self._table = table
        self._keys = keys
        self._clock = clock
        self._settings = _Settings(DEFAULT_SHARDS, DEFAULT_SHARDS, 0)
        self._looked_at: Instant = 0
        self.opening = 0
        """Counts the openings of the namespace; tells apart what arrives at the same instant."""

    async def open(self, wanted: int | None) -> None:
        """Read the settings, or make them, and let the shards grow where that is wanted."""
        try:
            row = await self._open(wanted)
        except StorageFailed:
            # A role that only reads can look at a namespace that exists.
            row = await self._table.get(self._keys.config, _SORT)
            if row is None:
                raise
            wanted = None
        self._learn(row)
        self.opening = row.number("opn") if row else 0
        # Again, if another process lets them grow at the same time, by less.
        while wanted is not None and wanted > self._settings.new:
            await self._grow(wanted)

    @property
    def has_links(self) -> bool:
        """Whether every child and every parked instance is found by an item of its own.

        Not where version 0.1.0 has opened the namespace, which kept no such items.
        """
        return self._settings.has_links

    async def _open(self, wanted: int | None) -> Row | None:
        """Count the opening; the first one makes the settings.

        It is told from others by what it meets, and not by its count: the answer may be lost, and
        then the repeat is the second one.
        """
        found, row = await self._try_to_open("attribute_exists(pk)", wanted)
        if not found:
            is_first, row = await self._try_to_open(
                "attribute_not_exists(pk)", wanted, "lnk = :one"
            )
            if not is_first:
                _, row = await self._try_to_open("attribute_exists(pk)", wanted)
        return row

    async def _try_to_open(
        self, condition: str, wanted: int | None, *more: str
    ) -> tuple[bool, Row | None]:
        sets = [
            "opn = if_not_exists(opn, :zero) + :one",
            "sho = if_not_exists(sho, :count)",
            "shn = if_not_exists(shn, :count)",
            "gro = if_not_exists(gro, :zero)",
            *more,
        ]
        return await self._table.try_write(
            Update(
                key=(self._keys.config, _SORT),
                change=f"SET {', '.join(sets)}",
                condition=condition,
                values={":zero": 0, ":one": 1, ":count": wanted or DEFAULT_SHARDS},
            )
        )

    async def note_that_it_is_empty(self) -> None:
        """Nothing is in the namespace, so what comes from now on has links."""
        noted = Update(
            key=(self._keys.config, _SORT),
            change="SET lnk = :one",
            condition="attribute_exists(pk)",
            values={":one": 1},
        )
        _, row = await self._table.try_write(noted)
        self._learn(row)

    async def refresh(self) -> None:
        """Look for new settings, if that is due."""
        now = self._clock.now()
        if abs(now - self._looked_at) >= to_microseconds(REFRESH):
            self._learn(await self._table.get(self._keys.config, _SORT))

    @property
    def all(self) -> range:
        """The shards to look into."""
        return range(self._settings.new)

    def of(self, instance: str) -> int:
        """The shard to put an instance's items into."""
        return shard_of(instance, self._settings.written(self._clock.now()))

    async def _grow(self, wanted: int) -> None:
        now = self._clock.now()
        _, row = await self._table.try_write(
            Update(
                key=(self._keys.config, _SORT),
                change="SET sho = :old, shn = :new, gro = :now",
                condition="shn = :seen AND shn < :new",
                values={
                    ":old": self._settings.written(now),
                    ":seen": self._settings.new,
                    ":new": wanted,
                    ":now": now,
                },
            )
        )
        self._learn(row)

    def _learn(self, row: Row | None) -> None:
        self._looked_at = self._clock.now()
        if row is not None:
            self._settings = _Settings(
                row.number("sho"), row.number("shn"), row.number("gro"), "lnk" in row
            )
