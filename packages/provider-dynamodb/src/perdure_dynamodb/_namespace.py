"""A namespace of a table: what every part of the provider needs to read and write it."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.clock import Clock, Instant

from perdure_dynamodb._arrivals import Arrivals
from perdure_dynamodb._keys import LOCK, Keys
from perdure_dynamodb._purge import Purge
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._table import Key, Table


@dataclass(frozen=True, slots=True)
class Namespace:
    """One for each provider object."""

    table: Table
    keys: Keys
    clock: Clock
    shards: Shards
    arrivals: Arrivals
    purge: Purge

    @property
    def now(self) -> Instant:
        """The present instant."""
        return self.clock.now()

    def lock_key(self, instance: str) -> Key:
        """The key of an instance's lock item."""
        return (self.keys.partition(instance), LOCK)

    def turn_queue(self, instance: str) -> str:
        """The shard of the queue of turns that an instance is put into."""
        return self.keys.turns(self.shards.of(instance))

    def work_queue(self, instance: str) -> str:
        """The shard of the queue of activities that an instance's are put into."""
        return self.keys.work(self.shards.of(instance))
