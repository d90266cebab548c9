"""Changes that go together: what a commit, a message or a creation asks for.

A change says what is wanted, not yet how; `change_build` makes actions of changes, and `changes`
carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from perdure.clock import Instant

from perdure_dynamodb._locks import Lock, Validity
from perdure_dynamodb._signals import Signal
from perdure_dynamodb._table import Action, Key
from perdure_dynamodb._values import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """Put an item, whatever was there."""

    item: Item
    weight = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove an item, if it is there."""

    key: Key
    weight = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Put a message into a mailbox, unless it is void or its id is held."""

    instance: str
    item: Item
    weight = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Create an instance, or, where its id is in use, post something else."""

    instance: str
    lock: Item
    items: tuple[Item, ...]
    """The other items: its start message, and those by which listings find it."""
    if_exists: Post | None = None

    @property
    def weight(self) -> int:
        return 1 + len(self.items)


Change: TypeAlias = Replace | Remove | Post | Create
Fence: TypeAlias = Callable[[Sequence[str]], Sequence[Action]]
"""Gives the actions that must succeed, told which ids of instances turned out to be in use."""


class FenceFailed(Exception):
    """A condition of the fence was not met; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the changes came to."""

    in_use: tuple[str, ...]
    unused: tuple[Key, ...]
    """Chunks of messages that were dropped."""
    signals: tuple[Signal, ...]
    is_void: bool = False
    """Whether nothing was left to be done, and not even the fence was tried."""


def weight_of(changes: Sequence[Change]) -> int:
    """At most so many actions."""
    return sum(change.weight for change in changes)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox as the sender of a message knows it."""

    validity: Validity
    prefix: str
    """Of the place of its instance in the queue."""
    newest_arrival: Instant = 0
    lock: Lock | None = None
    """To be signalled afterwards; None where the same transaction changes it."""

    @classmethod
    def of(cls, lock: Lock) -> Mailbox:
        """That of an instance whose lock is no part of the transaction."""
        return cls(lock.validity, lock.prefix, lock.newest_arrival, lock)
