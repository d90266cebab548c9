"""The lock item of an instance: its plain fields, its lease, and the fence of every commit.

A change of the lease or of the instance raises the turn number `trn`; a renewal, a signal, a parked
mark of an activity and a count that is taken back don't. A change says under which token or turn
number it is made: a request that was delayed, or comes from a process whose lease was taken over,
meets another one and fails.

The lock item is also the one row of its instance in the queue of turns (see `signals`): `gpk`,
`gsk`. It stands there while the instance is ready, leased, delayed, or has a staged commit.

Attributes: `inc` incarnation, `lif` life (see `lives`), `orc` name, `ver` version, `eng` engine,
`exe` execution, `evn` last event, `cid` last commit, `stat` status, `oup` output, `cre`/`upd` created
and updated, `pkr`/`pkd`/`pks` parked, `par` parent, `tok`/`unt` lease, `tkf` token of the lease that
was taken over last, `hid` end of a delay, `att` attempt, `rel` last release, `trn` turn number,
`sig` number of signals, `sgt` of those of timers, `stm` stamp of the newest, `nxt`/`nxn`/`nxs` next
due time of the timers, their number, and the number of signals at which that was known, `sta` start
of the execution, `tev` events of earlier executions, `can` that one of these continued as new,
`prn` the first execution that was not pruned, `lbl` labels, `slt` the activity that was put into the
slot last (see `activity_items`), `cst`/`csn` custom status and its version, `vln` number of values,
`ans`/`acu` answer of the last commit (`inu` in version 0.1.0), `stg`/`stp`/`stn` a staged commit,
`stf` that it frees the lease at its end, `lit` that payloads of messages or activities went into
chunks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from perdure.clock import Instant
from perdure.contract import (
    InstanceState,
    InstanceStatus,
    NewInstance,
    ParentLink,
    ParkedMark,
    ParkedState,
    is_in_force,
)
from perdure.errors import ProviderError, StorageCorrupt

from perdure_dynamodb._keys import LOCK, open_since, turn_prefix
from perdure_dynamodb._lives import LIFE, Life
from perdure_dynamodb._values import Item, Plain, Row

LEASE_STANDS = "tok = :token"
"""The condition that the lease under a token, live or expired, was not taken over."""

RUNNING = InstanceStatus.RUNNING.value


def unsignalled(signals: int, values: dict[str, Plain]) -> str:
    """The condition that there were so many signals, and no other since; adds its value."""
    if not signals:
        return "attribute_not_exists(sig)"
    values[":signals"] = signals
    return "sig = :signals"


@dataclass(frozen=True, slots=True)
class Validity:
    """What decides which of an instance's messages and activities are void."""

    incarnation: str
    execution: int
    running: bool
    life: Life

    def voids(self, addressed: Mapping[str, Plain]) -> bool:
        """Whether a message or an activity, as an item or an index row, is void."""
        return (
            not self.running
            or addressed.get("inc", self.incarnation) != self.incarnation
            or addressed.get("exe", self.execution) != self.execution
            or addressed.get(LIFE, self.life.text) != self.life.text
        )

    def outlived(self, addressed: Mapping[str, Plain]) -> bool:
        """Whether it is void for ever, even if the instance has moved on since this was read.

        The instance may have been reopened, or deleted and created again. So what is addressed to a
        later execution, life or incarnation may be void now, but must not be removed; nor must what
        tells neither of them.
        """
        execution, life = addressed.get("exe"), addressed.get(LIFE)
        if addressed.get("inc", self.incarnation) != self.incarnation:
            return False
        if life is not None:
            other = Life.of(addressed)
            if other.tag != self.life.tag or other.number > self.life.number:
                return False
            if other.number < self.life.number or not self.running:
                return True
        elif "inc" not in addressed:
            return False
        return isinstance(execution, int) and execution < self.execution + (not self.running)

    def is_foreign(self, addressed: Mapping[str, Plain]) -> bool:
        """Whether a message or an activity is of another creation, an earlier one or a later one."""
        life = addressed.get(LIFE)
        return life is not None and Life.of(addressed).tag != self.life.tag


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock item as it was read."""

    instance: str
    row: Row

    @property
    def incarnation(self) -> str:
        """Which of the instances that ever had the id it is."""
        return self.row.text("inc")

    @property
    def status(self) -> InstanceStatus:
        """Its status; raises `StorageCorrupt` for one that there is not."""
        text = self.row.text("stat")
        try:
            return InstanceStatus(text)
        except ValueError:
            raise StorageCorrupt(
                f"instance {self.instance!r} is stored with the status {text!r}, which there is"
                " not; it was damaged or written by something else than Perdure",
                operation="read",
            ) from None

    @property
    def is_sound(self) -> bool:
        """Whether its plain fields can be understood."""
        try:
            self.state(None)
            _ = self.life
        except StorageCorrupt:
            return False
        return True

    @property
    def running(self) -> bool:
        """Whether the instance has not ended."""
        return self.status is InstanceStatus.RUNNING

    @property
    def execution(self) -> int:
        """The newest execution."""
        return self.row.number("exe")

    @property
    def last_event(self) -> int:
        """The last event of that execution."""
        return self.row.number("evn")

    @property
    def name(self) -> str:
        """The orchestration's name."""
        return self.row.text("orc")

    @property
    def version(self) -> str | None:
        """The version it is pinned to."""
        return self.row.text_or_none("ver")

    @property
    def engine(self) -> int:
        """The oldest engine that can run it."""
        return self.row.number("eng")

    @property
    def turn(self) -> int:
        """The turn number."""
        return self.row.number("trn")

    @property
    def attempt(self) -> int:
        """How often it was leased since the last commit."""
        return self.row.number("att")

    @property
    def token(self) -> str | None:
        """Whose lease it is, live or expired."""
        return self.row.text_or_none("tok")

    @property
    def taken_from(self) -> str | None:
        """Whose lease was taken over last, when it had expired."""
        return self.row.text_or_none("tkf")

    @property
    def until(self) -> Instant | None:
        """When the lease ends."""
        return self.row.number_or_none("unt")

    @property
    def place(self) -> str | None:
        """Where the instance stands in the queue; None while it waits for nothing but messages."""
        return self.row.text_or_none("gsk")

    @property
    def prefix(self) -> str:
        """The prefix of its place in the queue."""
        return turn_prefix(self.name, self.version, self.engine)

    @property
    def signals(self) -> int:
        """How often a sender has told that it put a message."""
        return self.row.number_or_none("sig") or 0

    @property
    def timer_signals(self) -> int:
        """How many of the signals told of messages that stand among the timers."""
        return self.row.number_or_none("sgt") or 0

    @property
    def timers(self) -> int:
        """How many messages stood about among the timers at the last commit that knew."""
        return self.row.number_or_none("nxn") or 0

    @property
    def next_due(self) -> Instant | None:
        """When the next of them is due; None where it is not known, or one came since."""
        is_known = self.row.number_or_none("nxs") == self.timer_signals
        return self.row.number_or_none("nxt") if is_known else None

    @property
    def slot(self) -> str | None:
        """The id of the activity in the slot, if there still is one of this id."""
        return self.row.text_or_none("slt")

    @property
    def has_chunks(self) -> bool:
        """Whether a payload of a message or an activity ever went into chunks."""
        return "lit" in self.row

    @property
    def newest_arrival(self) -> Instant:
        """The stamp of about the newest message that was sent to it."""
        return self.row.number_or_none("stm") or 0

    @property
    def first_execution(self) -> int:
        """The first execution that was not pruned."""
        return self.row.number_or_none("prn") or 1

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        text = self.row.text_or_none("lbl")
        try:
            return {} if text is None else json.loads(text)
        except ValueError as error:
            raise StorageCorrupt(
                f"the labels of instance {self.instance!r} cannot be read ({error}); they were"
                " damaged or written by something else than Perdure",
                operation="read",
            ) from error

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has come to it since it was created: no lease, and no message without a row
        of its own."""
        return self.turn == 0 and self.signals == 0 and self.token is None

    @property
    def is_parked(self) -> bool:
        """Whether it has a parked mark."""
        return "pks" in self.row

    @property
    def parent(self) -> str | None:
        """The id of its parent."""
        link = self.row.row_or_none("par")
        return None if link is None else link.text("ins")

    @property
    def created(self) -> Instant:
        """When it was created."""
        return self.row.number("cre")

    @property
    def custom_status_version(self) -> int:
        """How often a commit has set a custom status."""
        return self.row.number_or_none("csn") or 0

    @property
    def value_count(self) -> int:
        """How many values it has."""
        return self.row.number_or_none("vln") or 0

    @property
    def is_listed_as_continued(self) -> bool:
        """Whether it is listed among those that ever continued as new."""
        return "can" in self.row

    @property
    def last_commit(self) -> str | None:
        """The id of the last commit."""
        return self.row.text_or_none("cid")

    @property
    def stage(self) -> str | None:
        """The id of a staged commit that is decided, but not yet carried out."""
        return self.row.text_or_none("stg")

    def held_by(self, token: str, now: Instant) -> bool:
        """Whether the lease is live under this token."""
        return self.token == token and is_in_force(self.until, now)

    def is_delayed(self, now: Instant) -> bool:
        """Whether it was released with a delay that is not over."""
        return self.token is None and is_in_force(self.row.number_or_none("hid"), now)

    def is_free(self, now: Instant) -> bool:
        """Whether there is neither a lease nor a delay."""
        return not is_in_force(self.until, now) and not is_in_force(
            self.row.number_or_none("hid"), now
        )

    def free_since(self, since: Instant, now: Instant) -> Instant | None:
        """Since then, or since its last lease or delay ended; None while one is in force."""
        if not self.is_free(now):
            return None
        ends = (self.row.number_or_none(name) for name in ("rel", "unt", "hid"))
        return max([since, *(end for end in ends if end is not None and end <= now)])

    @property
    def life(self) -> Life:
        """The present life, or the last one if it has ended."""
        return Life.of(self.row)

    @property
    def validity(self) -> Validity:
        """What decides which messages and activities are void."""
        return Validity(self.incarnation, self.execution, self.running, self.life)

    def state(self, output: bytes | None, custom_status: bytes | None = None) -> InstanceState:
        """The plain fields, with those that may be large, which are read apart."""
        row = self.row
        return InstanceState(
            instance=self.instance,
            incarnation=self.incarnation,
            name=self.name,
            version=self.version,
            engine=self.engine,
            execution=self.execution,
            last_event=self.last_event,
            last_commit=self.last_commit,
            status=self.status,
            output=output,
            created_at=row.number("cre"),
            updated_at=row.number("upd"),
            parked=_parked(row),
            parent=_parent(row.row_or_none("par")),
            labels=self.labels,
            custom_status=custom_status,
            custom_status_version=self.custom_status_version,
            value_count=self.value_count,
        )


def new_lock(new: NewInstance, *, life: Life, partition: str, queue: str, now: Instant) -> Item:
    """The lock item of an instance that is about to be created, ready in a queue."""
    item: Item = {
        "pk": partition,
        "sk": LOCK,
        "inc": new.incarnation,
        LIFE: life.text,
        "orc": new.name,
        "eng": new.engine,
        "exe": 1,
        "evn": 0,
        "stat": RUNNING,
        "cre": now,
        "upd": now,
        "sta": now,
        "att": 0,
        "trn": 0,
        "tev": 0,
        "gpk": queue,
        "gsk": turn_prefix(new.name, new.version, new.engine) + open_since(now),
    }
    if new.version is not None:
        item["ver"] = new.version
    if new.parent is not None:
        item["par"] = {
            "ins": new.parent.instance,
            "inc": new.parent.incarnation,
            "exe": new.parent.execution,
            "evn": new.parent.event,
        }
    if new.labels:
        item["lbl"] = json.dumps(dict(new.labels), separators=(",", ":"))
    return item


PUT_OFF = timedelta(seconds=5)
"""For how long what could not be read is left alone."""

MOST_DETAILS = 4000
"""Characters: the lock item is paid whole with each change of it."""

PARKING = "pkr = :reason, pkd = :details, pks = if_not_exists(pks, :since)"
"""Sets a parked mark, whose time stays from the first one for its reason; where `SAME_REASON`."""

SAME_REASON = "(attribute_not_exists(pkr) OR pkr = :reason)"

PARKING_AGAIN = "pkr = :reason, pkd = :details, pks = :since"
"""Sets a parked mark in place of one for another reason."""


def parking_values(mark: ParkedMark, now: Instant) -> dict[str, Plain]:
    """The values of `PARKING`."""
    return {":reason": mark.reason, ":details": mark.details[:MOST_DETAILS], ":since": now}


def damage_mark(error: ProviderError) -> ParkedMark | None:
    """The mark, for people to see, of what is damaged; None where it may be read later."""
    damaged = isinstance(error, StorageCorrupt)
    return ParkedMark(reason="undecodable", details=str(error)) if damaged else None


def _parked(row: Row) -> ParkedState | None:
    since = row.number_or_none("pks")
    if since is None:
        return None
    return ParkedState(reason=row.text("pkr"), details=row.text("pkd"), since=since)


def _parent(row: Row | None) -> ParentLink | None:
    if row is None:
        return None
    return ParentLink(
        instance=row.text("ins"),
        incarnation=row.text("inc"),
        execution=row.number("exe"),
        event=row.number("evn"),
    )
