"""What this process knows of the activities that it added, leased or renewed.

Only a memory that saves reads: what is not remembered here is read from the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from perdure.clock import Instant
from perdure.contract import ActivityLease

from perdure_dynamodb._keys import SLOT, activity_key, prefix_of, ready_time, waits_since
from perdure_dynamodb._lease_memory import BoundedMemory
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._payloads import chunks_of
from perdure_dynamodb._table import Key
from perdure_dynamodb._values import Row

_Turn: TypeAlias = tuple[str, int]
"""The life of an instance, and its turn number."""


@dataclass(frozen=True, slots=True)
class KnownActivity:
    """What this process knows of an activity."""

    id: str
    prefix: str
    """Of its places in the queue."""
    chunks: tuple[Key, ...]
    token: str | None
    """Under which it was leased or renewed here."""
    until: Instant
    """Until then no other process can have taken that lease over."""
    place: Instant
    """The instant at which its row of the index is looked at next."""
    since: Instant
    """Since when it waited before it was leased."""

    @classmethod
    def of(cls, row: Row) -> KnownActivity:
        """What its item tells."""
        return cls(
            id=row.text_or_none("aid") or row.text("sk")[2:],
            prefix=prefix_of(row.text("gsk")),
            chunks=chunks_of(row),
            token=row.text_or_none("tok"),
            until=row.number_or_none("unt") or 0,
            place=ready_time(row.text("gsk")),
            since=waits_since(row.text("gsk")),
        )

    def holds(self, lease: ActivityLease, now: Instant) -> bool:
        """Whether it is leased as it says, unless the activity was removed."""
        return self.id == lease.activity and self.token == lease.token and now < self.until


class ActivityMemory:
    """Activities by key, and since when their leases are known to stand."""

    def __init__(self) -> None:
        self._known: BoundedMemory[Key, KnownActivity] = BoundedMemory()
        self._sure_at: BoundedMemory[ActivityLease, _Turn] = BoundedMemory()
        """The turn of the instance at which a lease was seen to stand."""

    def get(self, key: Key) -> KnownActivity | None:
        """What is known of one."""
        return self._known.get(key)

    def learn(self, row: Row) -> None:
        """Remember what an item tells."""
        partition, sort, known = row.text("pk"), row.text("sk"), KnownActivity.of(row)
        self._known[partition, sort] = known
        # One of its id in another execution may have been elsewhere.
        other = (partition, activity_key(known.id) if sort == SLOT else SLOT)
        if other in self._known and self._known[other].id == known.id:
            del self._known[other]

    def renewed(self, key: Key, known: KnownActivity) -> None:
        """Remember what a renewal has made of it."""
        self._known[key] = known

    def gone(self, keys: Sequence[Key]) -> list[Key]:
        """Forget activities that were removed; gives the chunks of their payloads."""
        known = [self._known.pop(key, None) for key in keys]
        return [chunk for each in known if each is not None for chunk in each.chunks]

    def released(self, key: Key, lease: ActivityLease) -> None:
        """Forget a lease that is over."""
        self._sure_at.pop(lease, None)
        known = self._known.get(key)
        if known is not None and (known.id, known.token) == (lease.activity, lease.token):
            self._known[key] = replace(known, token=None, until=0, place=0)

    def seen(self, lease: ActivityLease, lock: Lock) -> None:
        """A lease was seen to stand when the instance was at this turn."""
        self._sure_at[lease] = (lock.life.text, lock.turn)

    def is_sure_of(self, lease: ActivityLease, key: Key, lock: Lock, now: Instant) -> bool:
        """Whether a lease stands, since no commit came after it was seen to."""
        known = self._known.get(key)
        is_held = known is not None and known.holds(lease, now)
        return is_held and self._sure_at.get(lease) == (lock.life.text, lock.turn)
