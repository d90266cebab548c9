"""Signals: how an instance learns that a message was put into its mailbox.

The lock item of an instance is its one row in the queue of turns. It stands there while the
instance is ready, at the end of the lease or the delay that it has, or nowhere while it waits for
nothing but messages. So what is leased or delayed elsewhere is no row among those that are ready.

Who puts a message signals the instance afterwards, outside of any transaction. A signal counts
`sig` up, and puts an instance that stands nowhere among those that are ready. The holder of a lease
reads the mailbox after it read `sig`. As long as `sig` is the same, every message that was
acknowledged has been read: so a commit under that condition needs no look at the mailbox, and a
lease that ends under it leaves nothing behind.

A process may die between a transaction that puts a message and the signal. Such a message has a row
of its own in the queue, a reminder for a few seconds later, which goes with the message. A look
that meets a reminder takes the instance, or repeats the signal and removes the reminder. The rows of
timers are treated the same way, and so are the rows that version 0.1.0 gave to every message.

A message that comes when its instance has ended is void. The signal of it puts the instance back into
the queue, and a removal takes it out again if no other signal came since it looked at the mailbox. So
what a process leaves behind that dies in between is found. Where the instance was deleted, the signal
puts a work item in place of that (see `removal`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from perdure.clock import Instant, to_microseconds
from perdure.contract import is_in_force
from perdure.errors import StorageUnavailable

from perdure_dynamodb._keys import EARLY_MARKER, locked_until, open_since, ready_time
from perdure_dynamodb._locks import RUNNING, Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._removal import Removal
from perdure_dynamodb._table import Delete, Update, Write, at_once
from perdure_dynamodb._values import Plain, Row

REMINDER = to_microseconds(timedelta(seconds=5))
"""After so many microseconds a message reminds of itself, if the signal of it was lost."""

_MOST_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Signal:
    """That an instance has a new message."""

    lock: Lock
    stamp: Instant
    """Of the newest of the messages."""
    opens: bool = True
    """Whether one of them is visible at once; the others have rows of their own."""
    has_chunks: bool = False
    """Whether the payload of one of them is in chunks."""
    among_timers: bool = False
    """Whether one of them stands among the timers."""
    ends_delay: bool = False
    """Whether one of them is a cancellation (LEASE-22)."""

    def joined(self, other: Signal) -> Signal:
        """Both in one."""
        return Signal(
            self.lock,
            max(self.stamp, other.stamp),
            opens=self.opens or other.opens,
            has_chunks=self.has_chunks or other.has_chunks,
            among_timers=self.among_timers or other.among_timers,
            ends_delay=self.ends_delay or other.ends_delay,
        )


class Signals:
    """Signals the instances of one namespace."""

    def __init__(self, namespace: Namespace, removal: Removal) -> None:
        self._namespace = namespace
        self._removal = removal

    async def send(self, signals: Iterable[Signal]) -> None:
        """Signal each instance."""
        await at_once(self._signal(each) for each in signals)

    def repeat(self, lock: Lock, rows: Iterable[Row]) -> None:
        """Signal an instance beside the caller's work, and remove the rows that remind of it."""
        self._namespace.purge.start(self._repeat(lock, tuple(rows)))

    async def _repeat(self, lock: Lock, rows: tuple[Row, ...]) -> None:
        await self._signal(Signal(lock, lock.newest_arrival))
        await at_once(self._namespace.table.try_write(_without_place(row)) for row in rows)

    async def _signal(self, signal: Signal) -> None:
        lock = signal.lock
        for _ in range(_MOST_ATTEMPTS):
            if not lock.is_sound:
                return
            if not lock.running and lock.stage is not None:
                # What was put is void, and is removed after the rest of the staged commit.
                return
            is_done, row = await self._namespace.table.try_write(self._update(lock, signal))
            if row is None:
                # The instance was deleted, and what was put belongs to nothing.
                await self._removal.begin_late(lock)
                return
            lock = Lock(lock.instance, row)
            if is_done and not lock.running:
                self._namespace.purge.instance(lock.instance, lock.validity, signals=lock.signals)
            # A message that is due later has a row of its own.
            if is_done or (lock.running and not signal.opens):
                return
        raise StorageUnavailable(
            f"the lock of instance {lock.instance!r} changed {_MOST_ATTEMPTS} times during a"
            " signal; try again",
            operation="send",
        )

    def _update(self, lock: Lock, signal: Signal) -> Update:
        if not lock.running:
            return self._standing_again(lock, signal)
        if signal.ends_delay and lock.is_delayed(self._namespace.now):
            return self._ending_delay(lock, signal)
        if signal.opens and lock.place is None:
            return self._opening(lock, signal)
        return self._counting(lock, signal)

    def _counting(self, lock: Lock, signal: Signal) -> Update:
        """For one that stands in the queue."""
        change, values = _counted(signal)
        return Update(
            key=self._namespace.lock_key(lock.instance),
            change=change,
            condition="attribute_exists(gpk) AND stat = :running",
            values=values,
        )

    def _ending_delay(self, lock: Lock, signal: Signal) -> Update:
        """For one that is delayed: it is ready at once."""
        update = self._placing(
            lock,
            signal,
            open_since(self._namespace.now),
            "attribute_exists(hid) AND attribute_not_exists(tok) AND stat = :running",
        )
        return replace(update, change=f"{update.change} REMOVE hid")

    def _opening(self, lock: Lock, signal: Signal) -> Update:
        """For one that stands nowhere: only version 0.1.0 has locked it, or its lease ran out."""
        place = _place_of(lock, self._namespace.now)
        return self._placing(lock, signal, place, "attribute_not_exists(gpk) AND stat = :running")

    def _standing_again(self, lock: Lock, signal: Signal) -> Update:
        """For one that has ended: it stands in the queue until what was put is removed."""
        place = open_since(self._namespace.now)
        return self._placing(lock, signal, place, "attribute_not_exists(stg) AND stat <> :running")

    def _placing(self, lock: Lock, signal: Signal, place: str, condition: str) -> Update:
        """Let an instance that is as it was read stand at another place."""
        change, values = _counted(signal)
        values |= {
            ":queue": self._namespace.turn_queue(lock.instance),
            ":place": lock.prefix + place,
            ":turn": lock.turn,
            ":life": lock.life.text,
        }
        return Update(
            key=self._namespace.lock_key(lock.instance),
            change=f"{change}, gpk = :queue, gsk = :place",
            # Without an item the first part decides: `stat <> :running` would hold.
            condition=f"trn = :turn AND {lock.life.condition} AND {condition}",
            values=values,
        )


def _counted(signal: Signal) -> tuple[str, dict[str, Plain]]:
    change = "SET sig = if_not_exists(sig, :zero) + :one, stm = :stamp"
    if signal.has_chunks:
        change += ", lit = :one"
    if signal.among_timers:
        change += ", sgt = if_not_exists(sgt, :zero) + :one"
    return change, {":zero": 0, ":one": 1, ":stamp": signal.stamp, ":running": RUNNING}


def _without_place(row: Row) -> Write:
    """Take a message's own row out of the queue, if it stands where it was found."""
    key, seen = (row.text("pk"), row.text("sk")), row.text("gsk")
    if key[1] == EARLY_MARKER:
        return Delete(key=key, condition="gsk = :seen", values={":seen": seen})
    # Version 0.1.0 told the arrival of a message by its place alone.
    return Update(
        key=key,
        change="SET arr = if_not_exists(arr, :arrived) REMOVE gpk, gsk",
        condition="gsk = :seen",
        values={":seen": seen, ":arrived": ready_time(seen)},
    )


def _place_of(lock: Lock, now: Instant) -> str:
    hidden = lock.row.number_or_none("hid")
    if lock.until is not None and is_in_force(lock.until, now):
        return locked_until(lock.until, since=now)
    if hidden is not None and is_in_force(hidden, now):
        return locked_until(hidden, since=None)
    return open_since(now)
