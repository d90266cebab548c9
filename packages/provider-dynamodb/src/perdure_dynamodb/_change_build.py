"""The actions of one transaction, made of changes and of what is known of the table.

Whether a message is dropped because its id is held, or a child is not created because its id is in
use, is known only when the transaction meets the table. So what was in the way is learned from a
transaction that failed, and the next one is built without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from perdure.contract import MessageKind

from perdure_dynamodb._change_kinds import Change, Create, Mailbox, Outcome, Post, Remove, Replace
from perdure_dynamodb._keys import (
    LOCK,
    due_at,
    is_reminder,
    is_timer_key,
    prefix_of,
    reminder_at,
)
from perdure_dynamodb._lives import LIFE, Life
from perdure_dynamodb._locks import RUNNING, Lock, Validity
from perdure_dynamodb._messages import arrival_of, behind, early
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import chunks_of, life_of_payload
from perdure_dynamodb._signals import REMINDER, Signal
from perdure_dynamodb._table import ABSENT, Action, Check, Delete, Key, Put
from perdure_dynamodb._values import Item, Row


@dataclass(slots=True)
class Attempt:
    """What is known of the table, and what was found to be in the way."""

    locks: dict[str, Lock | None] = field(default_factory=dict[str, "Lock | None"])
    dropped: set[int] = field(default_factory=set[int])
    in_use: set[int] = field(default_factory=set[int])
    contested: dict[int, str] = field(default_factory=dict[int, str])
    """The life of the message that holds the id, where it is another than the mailbox's."""


class Build:
    """The actions of one attempt, each with the place of the change that it belongs to."""

    def __init__(
        self, namespace: Namespace, attempt: Attempt, mailboxes: dict[str, Mailbox]
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
        self._created: dict[str, int] = {}
        """Of the instances that are created, the places of their lock items."""

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
                validity = Validity(str(change.lock["inc"]), 1, True, Life.of(change.lock))
                self._mailboxes[change.instance] = Mailbox(validity, prefix)
                self._created[change.instance] = len(self.actions)
                self._put(Put(item=change.lock, condition=ABSENT), place)
                for item in change.items:
                    self._put(Put(item=item), place)

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
        other = self._attempt.contested.get(place)
        if other is not None and other != mailbox.validity.life.text:
            put = Put(item=put.item, condition=f"{LIFE} = :other", values={":other": other})
            self._check_life(mailbox, place)
        if mailbox.lock is not None:
            self._signal(mailbox.lock, post)
        if self._put_once(put, place):
            if is_reminder(str(put.item.get("gsk", ""))):
                self._reminded.add(post.instance)
            self._signal_created(post.instance)

    def _signal_created(self, instance: str) -> None:
        """An instance that is created with a message beside its start message is signalled at once."""
        at = self._created.get(instance)
        if at is not None:
            lock, place = self.actions[at]
            if isinstance(lock, Put):
                self.actions[at] = (replace(lock, item={**lock.item, "sig": 1}), place)

    def _check_life(self, mailbox: Mailbox, place: int) -> None:
        """Make sure that it is the message in the way that is of another life, and not this one."""
        lock = mailbox.lock
        if lock is None or lock.instance in self._checked:
            return
        self._checked.add(lock.instance)
        check = Check(
            key=self._namespace.lock_key(lock.instance),
            condition=f"inc = :inc AND stat = :running AND {lock.life.condition}",
            values={":inc": lock.incarnation, ":running": RUNNING, ":life": lock.life.text},
        )
        self.actions.append((check, place))

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
        put = Put(item=item, condition=ABSENT)
        other = self._attempt.contested.get(place)
        if other is not None:
            put = Put(item=item, condition=f"{LIFE} = :other", values={":other": other})
        self._put_once(put, place)
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
    """Put a message unless its id is held by one that is not void; None where it is void.

    One of another life holds the id, too, as far as its put can tell: which of the two lives is the
    newer one, the lock item decides.
    """
    if validity.voids(item) or life_of_payload(item) not in (None, validity.life.text):
        return None
    return Put(
        item={**item, LIFE: validity.life.text},
        condition=f"{ABSENT} OR (attribute_exists(exe) AND exe < :exe"
        f" AND (attribute_not_exists({LIFE}) OR {LIFE} = :life))",
        values={":exe": validity.execution, ":life": validity.life.text},
    )


def foresee(changes: Sequence[Change], attempt: Attempt, known: Mapping[str, Mailbox]) -> None:
    """Creations that meet the fence's own instance, or one another, are decided beforehand."""
    taken = {instance: mailbox.validity.incarnation for instance, mailbox in known.items()}
    for place, change in enumerate(changes):
        if isinstance(change, Create):
            incarnation = str(change.lock["inc"])
            if taken.setdefault(change.instance, incarnation) != incarnation:
                attempt.in_use.add(place)
            elif change.instance in known:
                attempt.dropped.add(place)


def learn(change: Change, place: int, action: Action, found: Row | None, attempt: Attempt) -> None:
    """Learn from an action of a change whose condition was not met, and from what it found."""
    match change:
        case Create() if place not in attempt.in_use:
            if found is not None and found.text("inc") == change.lock["inc"]:
                attempt.dropped.add(place)
            else:
                attempt.in_use.add(place)
                attempt.locks.pop(change.instance, None)
        case Post(instance=instance) if action.key[1] == LOCK:
            attempt.locks.pop(instance, None)
        case _ if found is None:
            # What was in the way is gone.
            attempt.contested.pop(place, None)
        case _ if (
            LIFE in found and isinstance(action, Put) and found[LIFE] != action.item.get(LIFE)
        ):
            attempt.contested[place] = found.text(LIFE)
        case _:
            attempt.dropped.add(place)


def outcome_of(changes: Sequence[Change], build: Build, attempt: Attempt) -> Outcome:
    unused: list[Key] = []
    for place, change in enumerate(changes):
        kept = place not in attempt.dropped | build.void
        match change:
            case Post() if not kept:
                unused += chunks_of(Row(change.item))
            case Create() if place in attempt.in_use | attempt.dropped:
                unused += [key for item in change.items for key in chunks_of(Row(item))]
            case Create(if_exists=Post(item=item)) if place not in attempt.in_use:
                unused += chunks_of(Row(item))
            case _:
                pass
    return Outcome(ids_in_use(changes, attempt), tuple(unused), tuple(build.signals.values()))


def ids_in_use(changes: Sequence[Change], attempt: Attempt) -> tuple[str, ...]:
    return tuple(
        change.instance
        for place, change in enumerate(changes)
        if isinstance(change, Create) and place in attempt.in_use
    )
