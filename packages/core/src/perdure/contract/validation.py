"""Checks of arguments that every provider makes before it reads its storage.

An invalid argument is therefore refused in the same way by all providers, and changes nothing. The
functions raise `InvalidInput` or its subclass `InvalidDuration`, and do not depend on stored data.
"""

from __future__ import annotations

from datetime import timedelta

from perdure.errors import InvalidDuration, InvalidInput
from perdure.records.instances import InstanceStatus, MessageKind
from perdure.records.limits import LONGEST_LEASE
from perdure.records.recovery import InstanceReopening
from perdure.records.turns import TurnCommit

_NOTHING = timedelta(0)


def check_lease(name: str, duration: timedelta) -> None:
    """Raise `InvalidDuration` unless a lease lasts more than zero and at most `LONGEST_LEASE`.

    `name` is that of the argument.
    """
    if not _NOTHING < duration <= LONGEST_LEASE:
        raise InvalidDuration(
            f"{name} {duration} is out of range for a lease; pass more than zero and at most"
            f" {LONGEST_LEASE}"
        )


def check_delay(duration: timedelta) -> None:
    """Raise `InvalidDuration` unless a delay is at least zero and at most `LONGEST_LEASE`."""
    if not _NOTHING <= duration <= LONGEST_LEASE:
        raise InvalidDuration(
            f"delay {duration} is out of range; pass zero or more and at most {LONGEST_LEASE}"
        )


def check_limit(limit: int) -> None:
    """Raise `InvalidInput` unless a call asks for at least one thing."""
    if limit < 1:
        raise InvalidInput(f"limit {limit} is out of range; pass 1 or more")


def check_commit(commit: TurnCommit, *, finish_limit: int) -> None:
    """Raise `InvalidInput` if a commit contradicts itself, independent of what is stored."""
    if len(commit.finish) > finish_limit:
        raise InvalidInput(
            f"commit {commit.id!r} finishes {len(commit.finish)} activities, more than"
            f" {finish_limit}; hand over the others with complete_activity"
        )
    if commit.finish:
        _check_finish(commit)
    if len(commit.add) > 1 and len({new.id for new in commit.add}) < len(commit.add):
        raise InvalidInput(
            f"commit {commit.id!r} adds two activities of one id; give each an id of its own"
        )
    if commit.end is not None and commit.end.status is InstanceStatus.RUNNING:
        raise InvalidInput(
            f"commit {commit.id!r} ends an execution as Running; leave `end` out instead"
        )
    if commit.unpin:
        _check_unpin(commit)
    incomplete = commit.activity_token is None or commit.activity_lease_for is None
    if incomplete and commit.add and any(new.lease for new in commit.add):
        raise InvalidInput(
            f"commit {commit.id!r} adds leased activities; give activity_token and"
            " activity_lease_for with it"
        )
    for child in commit.create:
        if child.instance.replaces is None:
            continue
        raise InvalidInput(
            f"commit {commit.id!r} creates instance {child.instance.instance!r} in place of"
            f" {child.instance.replaces!r}; only create_instance may replace an instance"
        )
    if commit.front or commit.create:
        _check_own_messages(commit)
    if commit.keep_for is not None:
        check_lease("keep_for", commit.keep_for)
    if commit.activity_lease_for is not None:
        check_lease("activity_lease_for", commit.activity_lease_for)


def _check_finish(commit: TurnCommit) -> None:
    for lease in commit.finish:
        if lease.instance != commit.instance:
            raise InvalidInput(
                f"commit {commit.id!r} of instance {commit.instance!r} finishes activity"
                f" {lease.activity!r} of {lease.instance!r}; hand it over with complete_activity"
            )


def _check_unpin(commit: TurnCommit) -> None:
    if commit.version is not None:
        raise InvalidInput(
            f"commit {commit.id!r} unpins the instance and pins it to version {commit.version!r};"
            " pass one of `unpin` and `version`"
        )
    if commit.end is None or commit.end.status is not InstanceStatus.CONTINUED_AS_NEW:
        raise InvalidInput(
            f"commit {commit.id!r} unpins the instance without beginning an execution; pass"
            " `unpin` with an end as ContinuedAsNew only"
        )


def _check_own_messages(commit: TurnCommit) -> None:
    """Refuse messages for the front, or about ids in use, that another mailbox would get."""
    notices = (child.if_exists for child in commit.create)
    for message in (*commit.front, *notices):
        if message is not None and message.instance != commit.instance:
            raise InvalidInput(
                f"commit {commit.id!r} of instance {commit.instance!r} has message {message.id!r}"
                f" of `front` or `if_exists` for {message.instance!r}; pass it in `send`"
            )


def check_reopening(reopening: InstanceReopening) -> None:
    """Raise `InvalidInput` unless the start message begins the execution after the expected one."""
    start = reopening.start
    addressed = (start.kind, start.instance, start.incarnation, start.execution)
    due = (
        MessageKind.START,
        reopening.instance,
        reopening.incarnation,
        reopening.execution + 1,
    )
    if addressed != due or start.visible_at is not None:
        raise InvalidInput(
            f"reopening {reopening.id!r} of instance {reopening.instance!r} has a start message for"
            f" {addressed[1:]}; address it to {due[1:]}, visible at once"
        )
