"""Intents: what the next call may be about, before it is known what there is.

An intent names things by small numbers, which are taken modulo the number of things when the call
is made. So every intent always means something, and shrinking one makes the call simpler.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from hypothesis import strategies as st


class Wrong(StrEnum):
    """What is wrong with a commit on purpose."""

    NOTHING = "nothing"
    TOKEN = "token"  # noqa: S105 # the name of a field
    INCARNATION = "incarnation"
    EVENT = "event"
    EXECUTION = "execution"
    ACTIVITY = "activity"


class End(StrEnum):
    """How a commit ends the execution, if it does."""

    NOT = "not"
    COMPLETED = "completed"
    AGAIN = "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Create an instance, or repeat or contradict a creation."""

    instance: int
    incarnation: int = 0
    pinned: bool = False
    newer: bool = False
    labelled: bool = False
    replaces: bool = False
    """Whether it takes the place of the other incarnation, if that has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A message."""

    instance: int
    id: int
    event: bool = True
    stranger: bool = False
    late: int = 0
    """Seconds until it is visible; 0: now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send messages."""

    mail: tuple[Mail, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTurns:
    """Lease every ready instance."""

    again: bool = False
    """Whether it repeats the last look, if that may still be repeated."""
    unregistered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTurn:
    """Give back a turn that was once leased."""

    turn: int
    delay: int = 0
    counted: bool = True
    parked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewTurns:
    """Renew every turn that was ever leased."""

    seconds: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Commit a turn that was once leased."""

    turn: int
    wrong: Wrong = Wrong.NOTHING
    events: int = 0
    remove: int = 0
    """How many of the first delivered messages."""
    add: int = 0
    add_leased: bool = False
    finish: int = 0
    cancel: int = 0
    send: tuple[Mail, ...] = ()
    front: tuple[Mail, ...] = ()
    child: int | None = None
    notified: bool = False
    end: End = End.NOT
    keep: bool = False
    version: int = 0
    held: int = 0
    status: int = 0
    """The custom status that it sets; 0: none."""
    values: tuple[tuple[int, int], ...] = ()
    """Values by the number of their key; 0: delete it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatCommit:
    """Repeat a commit that was once made."""

    commit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseWork:
    """Lease every available activity."""

    again: bool = False
    """Whether it repeats the last look, if that may still be repeated."""
    unregistered: bool = False
    tagged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteWork:
    """Complete an activity that was once leased."""

    work: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseWork:
    """Give back an activity that was once leased."""

    work: int
    delay: int = 0
    counted: bool = True
    parked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewWork:
    """Renew every activity that was ever leased."""

    seconds: int = field(default=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopen:
    """Reopen an instance that was once leased."""

    turn: int
    back: int = 0
    """How many executions before the one that its holder knows."""
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """End an instance that was once leased."""

    turn: int
    send: tuple[Mail, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatRecovery:
    """Repeat a reopening or a termination that was once made."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete an instance that was once leased, or another incarnation of it."""

    turn: int
    stranger: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """Delete the first executions of an instance that was once leased."""

    turn: int
    stranger: bool = False
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteEarly:
    """Delete events that wait for an instance: of one id, or of all; all, or those that are old."""

    instance: int | None = None
    old: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAll:
    """Delete the namespace, one time in ten."""

    chance: int = 0


Intent = (
    Create
    | Send
    | LeaseTurns
    | ReleaseTurn
    | RenewTurns
    | Commit
    | RepeatCommit
    | LeaseWork
    | CompleteWork
    | ReleaseWork
    | RenewWork
    | Reopen
    | Terminate
    | RepeatRecovery
    | Delete
    | Prune
    | DeleteEarly
    | DeleteAll
)

small = st.integers(0, 3)
recent = st.sampled_from((0, 0, 0, 1, 1, 2, 3))
seldom = st.sampled_from((False, False, False, True))
delays = st.sampled_from((0, 0, 0, 1, 2, 20))

mails = st.builds(
    Mail, instance=small, id=st.integers(0, 5), event=st.booleans(), stranger=seldom, late=delays
)
few_mails = st.lists(mails, max_size=3).map(tuple)

commits = st.builds(
    Commit,
    turn=recent,
    wrong=st.sampled_from((Wrong.NOTHING,) * 12 + tuple(Wrong)),
    events=st.integers(0, 2),
    remove=small,
    add=st.integers(0, 2),
    add_leased=st.booleans(),
    finish=st.integers(0, 2),
    cancel=st.integers(0, 2),
    send=few_mails,
    front=few_mails,
    child=st.none() | small,
    notified=st.booleans(),
    end=st.sampled_from((End.NOT,) * 8 + (End.AGAIN, End.AGAIN, End.COMPLETED)),
    keep=st.sampled_from((True, True, False)),
    version=st.sampled_from((0, 0, 1, 2, 3)),
    held=small,
    status=st.sampled_from((0, 0, 1, 2)),
    values=st.lists(st.tuples(small, small), max_size=2).map(tuple),
)

intents: st.SearchStrategy[Intent] = st.one_of(
    st.builds(
        Create,
        instance=small,
        incarnation=st.integers(0, 1),
        pinned=seldom,
        newer=seldom,
        labelled=st.booleans(),
        replaces=st.booleans(),
    ),
    st.builds(Send, mail=few_mails),
    st.builds(LeaseTurns, again=seldom, unregistered=seldom),
    st.builds(LeaseTurns, again=seldom, unregistered=seldom),
    st.builds(ReleaseTurn, turn=small, delay=delays, counted=st.booleans(), parked=st.booleans()),
    st.builds(RenewTurns, seconds=st.sampled_from((10, 30))),
    commits,
    commits,
    commits,
    commits,
    st.builds(RepeatCommit, commit=recent),
    st.builds(LeaseWork, again=seldom, unregistered=seldom, tagged=seldom),
    st.builds(LeaseWork, again=seldom, unregistered=seldom, tagged=seldom),
    st.builds(CompleteWork, work=recent),
    st.builds(CompleteWork, work=recent),
    st.builds(ReleaseWork, work=small, delay=delays, counted=st.booleans(), parked=st.booleans()),
    st.builds(RenewWork, seconds=st.sampled_from((10, 30))),
    st.builds(Reopen, turn=recent, back=st.integers(0, 1), version=small),
    st.builds(Terminate, turn=recent, send=few_mails),
    st.builds(RepeatRecovery, number=recent),
    st.builds(Delete, turn=recent, stranger=seldom),
    st.builds(Delete, turn=recent, stranger=seldom),
    st.builds(Prune, turn=recent, stranger=seldom, before=small),
    st.one_of(
        st.builds(DeleteEarly, instance=st.none() | small, old=seldom),
        st.builds(DeleteAll, chance=st.integers(0, 9)),
    ),
)
"""All intents, the interesting ones more often."""
