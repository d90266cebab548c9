"""Changes that go together: what they ask for, and the transaction that carries them out.

A change says what is wanted, not yet how: whether a message is dropped because its id is held,
or a child is not created because its id is in use, is known only when the transaction meets the
table. So a transaction is built, tried, and built again without what turned out to be in the way,
until it succeeds or its fence fails. The fence is what the caller puts first: the conditions
under which anything may happen at all. Each attempt carries out everything or nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from perdure.clock import Instant
from perdure.contract import Message, MessageKind, NewInstance
from perdure.errors import StorageUnavailable

from perdure_dynamodb._keys import (
    CONTINUED,
    LISTING,
    LOCK,
    due_at,
    is_reminder,
    is_timer_key,
    prefix_of,
    reminder_at,
)
from perdure_dynamodb._lease_memory import BoundedMemory
from perdure_dynamodb._locks import RUNNING, Lock, Validity, new_lock
from perdure_dynamodb._messages import arrival_of, behind, early, message_item
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer, chunks_of
from perdure_dynamodb._signals import REMINDER, Signal, Signals
from perdure_dynamodb._table import Action, Check, Delete, Key, Put
from perdure_dynamodb._transport import TransactionCancelled
from perdure_dynamodb._values import Item, Row

_LOGGER = logging.getLogger("perdure.dynamodb")

ABSENT = "attribute_not_exists(pk)"


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
    listing: Item
    start: Item
    if_exists: Post | None = None
    weight = 3


Change: TypeAlias = Replace | Remove | Post | Create
Fence: TypeAlias = Callable[[Sequence[str]], Sequence[Action]]
"""Gives the actions that must succeed, told which ids of instances turned out to be in use."""


class FenceFailed(Exception):
    """A condition of the fence was not met; nothing was changed."""


@dataclass(slots=True)
class _Attempt:
    """What is known of the table, and what was found to be in the way."""

    locks: dict[str, Lock | None] = field(default_factory=dict[str, "Lock | None"])
    dropped: set[int] = field(default_factory=set[int])
    in_use: set[int] = field(default_factory=set[int])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the changes came to."""

    in_use: tuple[str, ...]
    unused: tuple[Key, ...]
    """Chunks of messages that were dropped."""
    signals: tuple[Signal, ...]


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


class Changes:
    """Carries changes out."""

    def __init__(self, namespace: Namespace, signals: Signals) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._keys = namespace.keys
        self._signals = signals
        self._unsound: BoundedMemory[str, None] = BoundedMemory()
        """Damaged instances that were complained of."""

    def post(self, message: Message, buffer: ChunkBuffer) -> Post:
        """The change that puts a message into its mailbox."""
        return Post(instance=message.instance, item=message_item(self._namespace, message, buffer))

    def create(
        self, new: NewInstance, buffer: ChunkBuffer, *, now: int, if_exists: Post | None = None
    ) -> Create:
        """The change that creates an instance with its start message."""
        partition = self._keys.partition(new.instance)
        start = message_item(self._namespace, new.start, buffer)
        lock = new_lock(
            new, partition=partition, queue=self._namespace.turn_queue(new.instance), now=now
        )
        if chunks_of(Row(start)):
            lock["lit"] = 1
        return Create(
            instance=new.instance,
            lock=lock,
            listing=self.listing(new.instance, RUNNING, created=now),
            start=start,
            if_exists=if_exists,
        )

    def listing(self, instance: str, status: str, *, created: int, events: int = 0) -> Item:
        """The item under which an instance of a status is listed."""
        return {
            "pk": self._keys.partition(instance),
            "sk": LISTING if status != "ContinuedAsNew" else CONTINUED,
            "gpk": self._keys.listing(status, self._namespace.shards.of(instance)),
            "gsk": self._keys.listed(created, instance),
            "tev": events,
        }

    async def signal(self, outcome: Outcome) -> None:
        """Signal the instances that messages were put for."""
        await self._signals.send(outcome.signals)

    async def signal_again(self, messages: Sequence[Message]) -> None:
        """Signal the instances of messages that were put, since the first signal may be lost."""
        stamp = self._namespace.now
        locks = await self.read_sound_locks(tuple({each.instance for each in messages}))
        await self._signals.send(Signal(lock, stamp) for lock in locks.values())

    async def read_locks(
        self, instances: Sequence[str], *, consistent: bool = True
    ) -> dict[str, Lock | None]:
        """The locks of the instances, None for those that do not exist."""
        keys = {instance: (self._keys.partition(instance), LOCK) for instance in instances}
        rows = await self._table.get_many(keys.values(), consistent=consistent)
        return {
            instance: Lock(instance, rows[key]) if key in rows else None
            for instance, key in keys.items()
        }

    async def read_sound_locks(
        self, instances: Sequence[str], *, consistent: bool = True
    ) -> dict[str, Lock]:
        """Those that exist and can be understood: what is damaged must not hinder others."""
        found = await self.read_locks(instances, consistent=consistent)
        sound: dict[str, Lock] = {}
        for instance, lock in found.items():
            if lock is None:
                continue
            if lock.is_sound:
                sound[instance] = lock
            elif instance not in self._unsound:
                self._unsound[instance] = None
                _LOGGER.error("instance %r is damaged in the storage, and passed over", instance)
        return sound

    async def carry_out(
        self,
        changes: Sequence[Change],
        *,
        fence: Fence,
        known: Mapping[str, Mailbox] | None = None,
    ) -> Outcome:
        """Everything in one transaction, under the fence; raises `FenceFailed`.

        `known` are the mailboxes that the fence itself makes sure of; others are looked up. The
        caller signals the instances of the outcome.
        """
        attempt = _Attempt()
        _foresee(changes, attempt, known or {})
        for _ in range(_MOST_ATTEMPTS):
            await self._look_up(changes, attempt, known or {})
            build = _Build(self._namespace, attempt, dict(known or {}))
            first = list(fence(_in_use(changes, attempt)))
            build.add_all(changes)
            actions = first + [action for action, _ in build.actions]
            if not actions or await self._try(actions, len(first), changes, build, attempt):
                return _outcome(changes, build, attempt)
        raise StorageUnavailable(
            f"the table changed {_MOST_ATTEMPTS} times while a change was made; try again",
            operation="transact",
        )

    async def _try(
        self,
        actions: Sequence[Action],
        fenced: int,
        changes: Sequence[Change],
        build: _Build,
        attempt: _Attempt,
    ) -> bool:
        try:
            await self._table.transact(actions)
        except TransactionCancelled as error:
            failed = [reason.code == "ConditionalCheckFailed" for reason in error.reasons]
            if any(failed[:fenced]):
                raise FenceFailed from error
            for (_, place), reason in zip(build.actions, error.reasons[fenced:], strict=True):
                if reason.code == "ConditionalCheckFailed":
                    _learn(changes[place], place, reason.item, attempt)
            return False
        return True

    async def _look_up(
        self, changes: Sequence[Change], attempt: _Attempt, known: Mapping[str, Mailbox]
    ) -> None:
        created = {
            change.instance
            for place, change in enumerate(changes)
            if isinstance(change, Create) and place not in attempt.in_use | attempt.dropped
        }
        wanted = {change.instance for change in changes if isinstance(change, Post)}
        missing = sorted(wanted - created - known.keys() - attempt.locks.keys())
        if missing:
            attempt.locks |= await self.read_locks(missing)


_MOST_ATTEMPTS = 40


class _Build:
    """The actions of one attempt, each with the place of the change that it belongs to."""

    def __init__(
        self, namespace: Namespace, attempt: _Attempt, mailboxes: dict[str, Mailbox]
    ) -> None:
        self.actions: list[tuple[Action, int]] = []
        self.void: set[int] = set()
        self.signals: dict[str, Signal] = {}
        self._namespace = namespace
        self._attempt = attempt
        self._mailboxes = mailboxes
        self._keys: set[Key] = set()
        self._removed: dict[Key, int] = {}
        self._checked: set[str] = set()
        self._reminded: set[str] = set()

    def add_all(self, changes: Sequence[Change]) -> None:
        """Removals come first, then creations: what is posted meets a mailbox as they leave it."""
        for kinds in ((Remove,), (Create,), (Replace, Post)):
            for place, change in enumerate(changes):
                if type(change) in kinds:
                    self._add(change, place)

    def _add(self, change: Change, place: int) -> None:
        dropped = place in self._attempt.dropped
        match change:
            case Post():
                self._post(change, place)
            case _ if dropped:
                pass
            case Replace():
                self._put(Put(item=change.item), place)
            case Remove():
                if change.key not in self._removed:
                    self._removed[change.key] = len(self.actions)
                    self.actions.append((Delete(key=change.key), place))
            case Create() if place in self._attempt.in_use:
                if change.if_exists is not None:
                    self._post(change.if_exists, place)
            case Create():
                prefix = prefix_of(str(change.lock["gsk"]))
                validity = Validity(str(change.lock["inc"]), 1, True)
                self._mailboxes[change.instance] = Mailbox(validity, prefix)
                self._put(Put(item=change.lock, condition=ABSENT), place)
                self._put(Put(item=change.listing), place)
                self._put(Put(item=change.start), place)

    def _post(self, post: Post, place: int) -> None:
        mailbox = self._mailboxes.get(post.instance)
        if mailbox is None:
            lock = self._attempt.locks.get(post.instance)
            if lock is None:
                self._post_to_absent(post, place)
                return
            if not lock.is_sound:
                # A repair finds what was sent meanwhile.
                self._put_once(Put(item=post.item, condition=ABSENT), place)
                return
            mailbox = Mailbox.of(lock)
        # One reminder is enough for all that a transaction puts into a mailbox.
        reminds = post.instance not in self._reminded
        put = put_into(self._namespace, post.item, mailbox, reminds=reminds)
        if put is None:
            self.void.add(place)
            return
        if mailbox.lock is not None:
            self._signal(mailbox.lock, post)
        if self._put_once(put, place) and is_reminder(str(put.item.get("gsk", ""))):
            self._reminded.add(post.instance)

    def _signal(self, lock: Lock, post: Post) -> None:
        """One that is held already is signalled, too: its sender may have died before it did."""
        signal = signal_of(lock, post.item)
        before = self.signals.get(post.instance)
        self.signals[post.instance] = signal if before is None else before.joined(signal)

    def _post_to_absent(self, post: Post, place: int) -> None:
        if post.item["kin"] != MessageKind.EVENT.value:
            self.void.add(place)
            return
        item = early(self._namespace, post.item, post.instance)
        self._put_once(Put(item=item, condition=ABSENT), place)
        if post.instance not in self._checked and place not in self._attempt.dropped:
            self._checked.add(post.instance)
            lock: Key = (str(item["pk"]), LOCK)
            self.actions.append((Check(key=lock, condition=ABSENT), place))

    def _put_once(self, put: Put, place: int) -> bool:
        return place not in self._attempt.dropped and self._put(put, place)

    def _put(self, put: Put, place: int) -> bool:
        # The first one of a key stands: a second message of an id is dropped.
        if put.key in self._keys:
            self.void.add(place)
            return False
        self._keys.add(put.key)
        removed = self._removed.get(put.key)
        if removed is None:
            self.actions.append((put, place))
        else:
            # A transaction may name an item once; what is put takes the place of what was there.
            self.actions[removed] = (Put(item=put.item), place)
        return True


def put_into(
    namespace: Namespace, item: Item, mailbox: Mailbox, *, reminds: bool = True
) -> Put | None:
    """Put a message into a mailbox, with a row of its own where it needs one; None if it is void."""
    item, due = behind(item, mailbox.newest_arrival), item.get("due")
    place = None
    if isinstance(due, int):
        place = due_at(due, str(item["ord"])[43:])
    elif reminds and mailbox.lock is not None:
        place = reminder_at(namespace.now + REMINDER)
    if place is not None:
        queue = namespace.turn_queue(namespace.keys.instance_of(str(item["pk"])))
        item = {**item, "gpk": queue, "gsk": mailbox.prefix + place}
    return put_unless_void(item, mailbox.validity)


def signal_of(lock: Lock, item: Item) -> Signal:
    """The signal that a message was put."""
    return Signal(
        lock,
        arrival_of(behind(item, lock.newest_arrival)),
        opens="due" not in item,
        has_chunks=bool(chunks_of(Row(item))),
        among_timers=is_timer_key(str(item["sk"])),
        ends_delay=item["kin"] == MessageKind.CANCEL.value and "due" not in item,
    )


def put_unless_void(item: Item, validity: Validity) -> Put | None:
    """Put a message unless its id is held by one that is not void; None where it is void."""
    if validity.voids(item):
        return None
    return Put(
        item=item,
        condition=f"{ABSENT} OR (attribute_exists(inc) AND inc <> :inc)"
        " OR (attribute_exists(exe) AND exe < :exe)",
        values={":inc": validity.incarnation, ":exe": validity.execution},
    )


def _foresee(changes: Sequence[Change], attempt: _Attempt, known: Mapping[str, Mailbox]) -> None:
    """Creations that meet the fence's own instance, or one another, are decided beforehand."""
    taken = {instance: mailbox.validity.incarnation for instance, mailbox in known.items()}
    for place, change in enumerate(changes):
        if isinstance(change, Create):
            incarnation = str(change.lock["inc"])
            if taken.setdefault(change.instance, incarnation) != incarnation:
                attempt.in_use.add(place)
            elif change.instance in known:
                attempt.dropped.add(place)


def _learn(change: Change, place: int, found: Row | None, attempt: _Attempt) -> None:
    match change:
        case Create() if place not in attempt.in_use:
            if found is not None and found.text("inc") == change.lock["inc"]:
                attempt.dropped.add(place)
            else:
                attempt.in_use.add(place)
                attempt.locks.pop(change.instance, None)
        case Post(instance=instance) if found is not None and found.text("sk") == LOCK:
            attempt.locks.pop(instance, None)
        case _:
            attempt.dropped.add(place)


def _outcome(changes: Sequence[Change], build: _Build, attempt: _Attempt) -> Outcome:
    unused: list[Key] = []
    for place, change in enumerate(changes):
        kept = place not in attempt.dropped | build.void
        match change:
            case Post() if not kept:
                unused += chunks_of(Row(change.item))
            case Create() if place in attempt.in_use | attempt.dropped:
                unused += chunks_of(Row(change.start))
            case Create(if_exists=Post(item=item)) if place not in attempt.in_use:
                unused += chunks_of(Row(item))
            case _:
                pass
    return Outcome(_in_use(changes, attempt), tuple(unused), tuple(build.signals.values()))


def _in_use(changes: Sequence[Change], attempt: _Attempt) -> tuple[str, ...]:
    return tuple(
        change.instance
        for place, change in enumerate(changes)
        if isinstance(change, Create) and place in attempt.in_use
    )
