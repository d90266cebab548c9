"""What this process knows of the leases that it was given.

Only a memory that saves reads: whoever commits under a lease that is not remembered here looks
into the table. Bounded; the oldest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from perdure_dynamodb._locks import Lock
from perdure_dynamodb._table import Key

MOST = 20_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedMemory(OrderedDict[K, V], Generic[K, V]):
    """A dictionary that forgets its oldest entries."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > MOST:
            self.popitem(last=False)


@dataclass(slots=True, kw_only=True)
class RememberedLease:
    """A turn lease: what a commit needs to know of the lock item."""

    turn: int
    created: int
    earlier_events: int
    execution_started: int
    lease_for: timedelta
    answer: str | None = None
    """Names the ids in use that the last commit found."""
    chunks: dict[str, tuple[Key, ...]] = field(default_factory=dict[str, tuple[Key, ...]])
    """Of messages that were delivered under it, by message id."""

    @classmethod
    def of(cls, lock: Lock, lease_for: timedelta) -> RememberedLease:
        """What a lock item tells."""
        return cls(
            turn=lock.turn,
            created=lock.row.number("cre"),
            earlier_events=lock.row.number("tev"),
            execution_started=lock.row.number("sta"),
            lease_for=lease_for,
            answer=lock.row.text_or_none("ans"),
        )


class LeaseMemory:
    """Turn leases by instance and token, and what each token was used for."""

    def __init__(self) -> None:
        self._turns: BoundedMemory[tuple[str, str], RememberedLease] = BoundedMemory()
        self._holders: BoundedMemory[str, str] = BoundedMemory()
        """By instance, the token of the lease that was remembered last."""
        self._tokens: BoundedMemory[str, dict[str, None]] = BoundedMemory()

    def attempt(self, token: str, instance: str) -> None:
        """A lease is about to be asked for: its answer may be lost."""
        instances = self._tokens.get(token) or {}
        instances[instance] = None
        self._tokens[token] = instances

    def attempted(self, token: str) -> tuple[str, ...]:
        """The instances that were, or may have been, leased under the token."""
        return tuple(self._tokens.get(token, ()))

    def put(self, instance: str, token: str, held: RememberedLease) -> None:
        """Remember a lease."""
        self._turns[instance, token] = held
        self._holders[instance] = token

    def holds(self, instance: str) -> bool:
        """Whether this process has, as far as it knows, a lease of the instance."""
        return instance in self._holders

    def get(self, instance: str, token: str) -> RememberedLease | None:
        """What is known of a lease."""
        return self._turns.get((instance, token))

    def forget(self, instance: str, token: str) -> None:
        """A lease is over, or what is known of it may be wrong."""
        self._turns.pop((instance, token), None)
        if self._holders.get(instance) == token:
            del self._holders[instance]

    def end(self, instance: str, token: str) -> None:
        """A lease is over for good."""
        self.forget(instance, token)
        instances = self._tokens.get(token)
        if instances is not None:
            instances.pop(instance, None)
            if not instances:
                del self._tokens[token]
