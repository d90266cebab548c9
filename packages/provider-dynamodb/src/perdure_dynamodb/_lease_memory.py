"""What this process knows of the turn leases that it was given.

Only a memory that saves reads: a commit under a lease that is not remembered here reads the lock
item. Bounded; the oldest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from perdure.clock import Instant, to_microseconds

from perdure_dynamodb._keys import ready_time, turn_prefix, waits_since
from perdure_dynamodb._lives import LEGACY, Life
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._messages import Delivery
from perdure_dynamodb._payloads import chunks_of
from perdure_dynamodb._table import Key

MOST = 20_000
MANY_TIMERS = 20
"""A read of fewer messages costs no more than one of none."""

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
    """A turn lease: what a commit needs to know of the lock item and of the mailbox."""

    turn: int
    name: str
    version: str | None
    engine: int
    created: int
    earlier_events: int
    execution_started: int
    lease_for: timedelta
    place_until: Instant
    """The end of the lease as the queue tells it."""
    since: Instant
    """Since when the instance waited before it was leased."""
    life: Life = LEGACY
    is_listed_as_continued: bool = False
    first_execution: int = 1
    custom_status_version: int = 0
    is_child: bool = False
    is_parked: bool = False
    """Whether the lock item had a parked mark when the lease was given."""
    status_chunks: tuple[Key, ...] = ()
    """Of the custom status, where it is in chunks."""
    value_count: int = 0
    signals: int | None = None
    """So many signals there were before the mailbox was read; None where that is not known."""
    unread: bool = True
    """Whether the mailbox had more visible messages than were delivered, as far as is known."""
    delivered: frozenset[str] = frozenset()
    """The messages that were delivered and not removed."""
    next_due: Instant | None = None
    """When the next of the messages is due that were not visible yet."""
    timers: int = 0
    """How many messages stand among the timers, about."""
    timer_signals: int = 0
    """So many signals of timers there were when that was known."""
    has_chunks: bool = False
    """Whether a payload of a message or an activity ever went into chunks."""
    slot: str | None = None
    """The activity that was put into the slot last."""
    slot_is_taken: bool = False
    """Whether it is, as far as is known, still there."""
    slot_place: str | None = None
    """Where it was put in the queue, if this process has put it."""
    wary: int = 0
    """For so many commits more the mailbox is read after each, since messages keep coming."""
    answer: str | None = None
    """Names the ids in use that the last commit found."""
    chunks: dict[str, tuple[Key, ...]] = field(default_factory=dict[str, tuple[Key, ...]])
    """Of messages that were delivered under it, by message id."""

    @classmethod
    def of(cls, lock: Lock, lease_for: timedelta) -> RememberedLease:
        """What a lock item tells."""
        place = lock.place
        return cls(
            turn=lock.turn,
            name=lock.name,
            version=lock.version,
            engine=lock.engine,
            created=lock.row.number("cre"),
            earlier_events=lock.row.number("tev"),
            execution_started=lock.row.number("sta"),
            lease_for=lease_for,
            place_until=0 if place is None else ready_time(place),
            since=0 if place is None else waits_since(place),
            next_due=lock.next_due,
            timers=lock.timers,
            timer_signals=lock.timer_signals,
            has_chunks=lock.has_chunks,
            answer=lock.row.text_or_none("ans"),
            life=lock.life,
            first_execution=lock.first_execution,
            is_child=lock.parent is not None,
            is_parked=lock.is_parked,
            custom_status_version=lock.custom_status_version,
            status_chunks=chunks_of(lock.row, "cst"),
            value_count=lock.value_count,
            slot=lock.slot,
            is_listed_as_continued=lock.is_listed_as_continued,
        )

    @property
    def prefix(self) -> str:
        """The prefix of the instance's place in the queue."""
        return turn_prefix(self.name, self.version, self.engine)

    def stands_well(self, now: Instant, lease_for: timedelta) -> bool:
        """Whether the queue may go on telling another end of the lease than it has.

        It may tell an earlier one, as long as the next renewal comes before.
        """
        length = to_microseconds(lease_for)
        return now + length // 2 <= self.place_until <= now + length

    def needs_timers(self, now: Instant, *, timer_signals: int) -> bool:
        """Whether the timers have to be read with the rest of the mailbox.

        Where they are few that costs nothing. Where they are many, and none is due or new, they
        are left out.
        """
        is_known = self.next_due is not None and self.timer_signals == timer_signals
        return self.timers < MANY_TIMERS or not is_known or (self.next_due or 0) <= now

    def note(
        self,
        delivery: Delivery,
        *,
        signals: int | None,
        timer_signals: int | None = None,
        with_timers: bool = True,
    ) -> None:
        """Note what was read from the mailbox, after so many signals."""
        self.signals = signals
        self.unread = delivery.more
        self.delivered |= {message.id for message in delivery.messages}
        self.chunks.update(delivery.chunks)
        dues = [delivery.next_due, None if with_timers else self.next_due]
        self.next_due = min((due for due in dues if due is not None), default=None)
        if with_timers:
            self.timers = delivery.timers
            # Where it is not known, the timers are read again when they are many.
            self.timer_signals = -1 if timer_signals is None else timer_signals

    def leaves(self, removed: Collection[str]) -> bool:
        """Whether visible messages are left, or may be, when these are removed."""
        return self.signals is None or self.unread or not self.delivered <= set(removed)


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

    def put(self, instance: str, token: str, lease: RememberedLease) -> None:
        """Remember a lease."""
        self._turns[instance, token] = lease
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

    def drop(self, instance: str) -> None:
        """The lease of an instance is gone, if there was one."""
        self._holders.pop(instance, None)

    def end(self, instance: str, token: str) -> None:
        """A lease is over for good."""
        self.forget(instance, token)
        instances = self._tokens.get(token)
        if instances is not None:
            instances.pop(instance, None)
            if not instances:
                del self._tokens[token]
