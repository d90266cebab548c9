"""Keys: how everything is addressed in the table and in its index.

One partition holds one instance, whole. Sort keys begin with a letter that says what the item is.
The letters are chosen so that what is void when an instance ends (messages, their payloads, staged
commits, activities) lies between `M` and `W`. Besides that, only the work items of deletions do.

The instance's id is always the rest of a key, so whatever characters it has, it cannot be taken
for another's. The namespace, which comes first, is escaped.

The index `due` is sparse: an item is in it only while it has to be found without its
instance. Its correctness is never relied upon, since it lags: what is found there is looked up
in the table before anything is done with it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from perdure.clock import Instant

LOCK = "A"
LISTING = "B"
CONTINUED = "C"
"""Marks an instance that ever continued as new, for the listing of these."""
PARKED = "F"
"""Marks an instance that may be parked, for the listing of these."""

EARLY_MARKER = "N#keeper"
"""With it version 0.1.0 kept an instance in the queue that had many early events."""

VOID_RANGE = ("M#", "W$")
"""From the first to past the last of what may be void when an instance ends."""

FIRST = "a" + "0" * 20
"""Ahead of everything in a ready queue."""

UNTAGGED = "-"

FOREVER = 10**20 - 1
"""Later than any instant of a queue."""

_GREATEST = 10**15


def time_text(instant: Instant) -> str:
    """An instant as text that sorts as the instants do."""
    return f"{max(instant, 0):020d}"


def message_key(message_id: str) -> str:
    """A message, by its id: so that a second one of the same id meets the first."""
    return f"M#{message_id}"


MAILBOX = ("M#", "M$")
TIMERS = ("M#timer:", "M#timer;")
"""Within a mailbox: from the first to past the last message whose id is that of a timer."""


def is_timer_key(sort_key: str) -> bool:
    """Whether a message stands among the timers."""
    return sort_key.startswith(TIMERS[0])


def activity_key(activity_id: str) -> str:
    """An activity, by its id."""
    return f"W#{activity_id}"


ACTIVITIES = ("W#", "W$")
"""From the first to past the last activity of an instance."""
SLOT = "W#"
"""The one activity whose item the next one takes over (see `activity_items`); no id is empty."""


# What lasts longer than a life has the tag of its incarnation in its key, if there is one.


def execution_key(execution: int, tag: str = "") -> str:
    """The record of an ended execution."""
    return f"E#{_tagged(tag)}{execution:010d}"


def segment_key(execution: int, last_event: int, tag: str = "") -> str:
    """Events of one commit, by the number of the last of them."""
    return f"H#{_tagged(tag)}{execution:010d}#{last_event:010d}"


def after_event(execution: int, event: int, tag: str = "") -> str:
    """Past the segment that ends with this event."""
    return f"H#{_tagged(tag)}{execution:010d}#{event:010d}~"


def end_of_execution(execution: int, tag: str = "") -> str:
    """Past the last segment of an execution."""
    return f"H#{_tagged(tag)}{execution:010d}~"


def executions(tag: str = "") -> tuple[str, str]:
    """From the first to past the last record of an incarnation's ended executions."""
    # The keys of incarnations with a tag go on with a letter.
    return f"E#{_tagged(tag)}0", f"E#{_tagged(tag)}:"


def _tagged(tag: str) -> str:
    return f"{tag}#" if tag else ""


def in_use_key(answer: str, batch: int) -> str:
    """The ids in use that a batch of a commit found."""
    return f"D#{answer}#{batch:05d}"


def chunk_key(chunk_id: str, number: int) -> str:
    """A part of a large payload; the id says of what kind (see `payloads`)."""
    return f"{chunk_id}#{number:05d}"


def litter_key(mark: str) -> str:
    """The marker of chunks that nothing refers to yet."""
    return f"{LITTER}{mark}"


LITTER = "G#"


def label_key(number: int) -> str:
    """A mark of an instance for the listing by one of its labels."""
    return f"Y#{number}"


def child_key(place: str) -> str:
    """A link to a child, among what belongs to the parent's id, by the child's place in listings."""
    return f"L#{place}"


def value_key(key: str, tag: str = "") -> str:
    """A value of an instance."""
    return f"K#{tag or '-'}#{key}"


def values_of(tag: str) -> tuple[str, str]:
    """From the first to past the last value of an incarnation."""
    return f"K#{tag or '-'}#", f"K#{tag or '-'}$"


def work_item_key(tag: str, before: int | None) -> str:
    """What is to be removed of a deleted incarnation, or of its executions before one."""
    pruned = "" if before is None else f"#{before:010d}"
    return f"{WORK_ITEM}{tag or '-'}{pruned}"


WORK_ITEM = "T#"


def manifest_key(stage: str, number: int) -> str:
    """A part of a staged commit."""
    return f"Q#{stage}#{number:05d}"


# The order of a mailbox is one text: start, front, usual.

START_ORDER = "0"


def front_order(commit: int, place: int) -> str:
    """Ahead of all that earlier commits put to the front; `commit` counts an instance's commits."""
    return f"1#{_GREATEST - commit:016d}#{place:06d}"


def usual_order(due: Instant, stamp: Instant, arrival: str) -> str:
    """By due time, then by arrival."""
    return f"2#{time_text(due)}#{time_text(stamp)}{arrival}"


def later_order(order: str, stamp: Instant) -> str:
    """A usual order as if the message, which has no due time, had arrived at the stamp."""
    return f"2#{time_text(stamp)}#{time_text(stamp)}{order[43:]}"


# A place in a queue is a prefix, which says who can take what stands there, and the time from which
# it can be taken. `a`: ready whatever any clock says. `l`: leased or delayed until then (`t` for
# activities). `t`: due then. So what is leased or delayed appears again by itself; its mark tells
# it from what is due.

_LEASED = "/L"
_DELAYED = "/d"
_REMINDER = "/r"


@dataclass(frozen=True, slots=True)
class Range:
    """A range of sort keys; both ends are included."""

    first: str
    last: str

    def has(self, sort_key: str) -> bool:
        """Whether a sort key lies in it."""
        return self.first <= sort_key <= self.last


def turn_prefix(name: str, version: str | None, engine: int) -> str:
    """Keeps the instances apart that need different code."""
    return _prefix(name, "" if version is None else f"v{version}", str(engine))


def work_prefix(name: str, tag: str | None) -> str:
    """Keeps the activities apart that need different code or another worker."""
    return _prefix(name, "" if tag is None else f"t{tag}")


def _prefix(*parts: str) -> str:
    return f"n{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}#"


def prefix_of(sort_key: str) -> str:
    """The prefix of a place; empty for places that version 0.1.0 gave to messages."""
    head, sign, _ = sort_key.partition("#")
    return head + sign if sign else ""


PREFIXES = Range("n", "n~")
"""Of all places but those that version 0.1.0 gave."""


EVERYTHING = Range("!", "~")
"""All places of a queue."""


def open_since(stamp: Instant, arrival: str = "") -> str:
    """Ready whatever any clock says; `arrival` sorts what came at one instant."""
    return f"a{time_text(stamp)}{arrival}"


def due_at(due: Instant, arrival: str = "") -> str:
    """Ready from an instant on."""
    return f"t{time_text(due)}{arrival}"


def reminder_at(due: Instant) -> str:
    """Where a message reminds of itself, if the signal of it was lost."""
    return due_at(due, _REMINDER)


def locked_until(until: Instant, *, since: Instant | None) -> str:
    """An instance that is leased until an instant, after it waited since another; or delayed."""
    mark = _DELAYED if since is None else _LEASED + time_text(since)
    return f"l{time_text(until)}{mark}"


def delayed_until(until: Instant) -> str:
    """An activity that is delayed until an instant."""
    return due_at(until, _DELAYED)


def leased_until(until: Instant, *, since: Instant) -> str:
    """An activity that is leased until an instant, after it waited since another."""
    return due_at(until, _LEASED + time_text(since))


def is_locked(sort_key: str) -> bool:
    """Whether a queue's sort key speaks of a lease or a delay."""
    return is_leased(sort_key) or sort_key.endswith(_DELAYED)


def is_leased(sort_key: str) -> bool:
    """Whether a queue's sort key speaks of a lease."""
    return _LEASED in sort_key


def is_reminder(sort_key: str) -> bool:
    """Whether a queue's sort key speaks of a message that may have come without a signal."""
    return sort_key.endswith(_REMINDER)


def waits_since(sort_key: str) -> Instant:
    """Since when what a queue's sort key speaks of waits, but for the lease that it has now."""
    since = sort_key.rpartition(_LEASED)[2] if is_leased(sort_key) else ""
    # Version 0.1.0 told the end of a lease alone.
    return int(since) if since else ready_time(sort_key)


def ready_to_run(prefix: str, now: Instant) -> tuple[Range, ...]:
    """Where instances stand that can be leased now: ready, no longer locked, due."""
    _, unlocked, due = ready_long(prefix, now, now)
    return Range(prefix + open_since(0), prefix + open_since(FOREVER, "~")), unlocked, due


def ready_long(prefix: str, since: Instant, now: Instant) -> tuple[Range, ...]:
    """Where instances stand that can be leased now, and that may have waited since an instant."""
    return (
        Range(prefix + open_since(0), prefix + open_since(since, "~")),
        Range(f"{prefix}l{time_text(0)}", f"{prefix}l{time_text(now)}~"),
        Range(prefix + due_at(0), prefix + due_at(since, "~")),
    )


def locked_too_long(prefix: str, farthest: Instant) -> Range:
    """Where instances stand whose lease or delay ends later than any that is right."""
    return Range(f"{prefix}l{time_text(farthest + 1)}", f"{prefix}l{time_text(FOREVER)}~")


def ready_to_work(prefix: str, now: Instant) -> tuple[Range, Range]:
    """Where activities stand that can be leased now: ready; due, or with a lease that ran out."""
    return (
        Range(prefix + open_since(0), prefix + open_since(FOREVER, "~")),
        Range(prefix + due_at(0), prefix + due_at(now, "~")),
    )


def leased_too_long(prefix: str, farthest: Instant) -> Range:
    """Where activities stand that are leased longer than is right, among those due far ahead."""
    return Range(prefix + due_at(farthest + 1), prefix + due_at(FOREVER, "~"))


def tag_prefix(tag: str | None) -> str:
    """What version 0.1.0 put before the places of activities."""
    if tag is None:
        return f"{UNTAGGED}#"
    return hashlib.sha256(tag.encode()).hexdigest()[:32] + "#"


def ready_time(sort_key: str) -> Instant:
    """The instant that a queue's sort key speaks of."""
    digits = sort_key.rpartition("#")[2][1:21]
    return int(digits)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace."""

    prefix: str

    @classmethod
    def of(cls, namespace: str) -> Keys:
        """The keys of a namespace, which may have any characters."""
        escaped = namespace.replace("%", "%25").replace("#", "%23").replace("!", "%21")
        return cls(f"{escaped}#")

    @property
    def config(self) -> str:
        """The partition of the namespace's settings."""
        return f"{self.prefix}!config"

    def partition(self, instance: str) -> str:
        """The partition that holds an instance."""
        return f"{self.prefix}I#{instance}"

    def instance_of(self, partition: str) -> str:
        """The instance whose partition it is."""
        return partition[len(self.prefix) + 2 :]

    def turns(self, shard: int) -> str:
        """A shard of the queue of instances with messages."""
        return f"{self.prefix}O#{shard}"

    def waiting(self, shard: int) -> str:
        """A shard of the external events that wait for an instance to be created."""
        return f"{self.prefix}V#{shard}"

    def work(self, shard: int) -> str:
        """A shard of the queue of activities, of all tags."""
        return f"{self.prefix}W#{shard}"

    def litter(self, shard: int) -> str:
        """A shard of the markers of chunks that nothing refers to yet."""
        return f"{self.prefix}G#{shard}"

    def listing(self, status: str, shard: int) -> str:
        """A shard of the instances of a status."""
        return f"{self.prefix}S#{status}#{shard}"

    def parked(self, shard: int) -> str:
        """A shard of the instances that may be parked."""
        return f"{self.prefix}F#{shard}"

    def labelled(self, key: str, value: str, shard: int) -> str:
        """A shard of the instances that have a label."""
        digest = hashlib.sha256(f"{len(key)}:{key}{value}".encode()).hexdigest()[:32]
        return f"{self.prefix}Y#{digest}#{shard}"

    def listed(self, created: Instant, instance: str) -> str:
        """An instance's place in listings: by creation."""
        return f"{time_text(created)}#{instance}"


def shard_of(instance: str, shards: int) -> int:
    """The shard that an instance's items are found in."""
    return int.from_bytes(hashlib.sha256(instance.encode()).digest()[:4], "big") % shards
