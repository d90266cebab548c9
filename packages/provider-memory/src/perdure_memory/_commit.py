"""Carrying out a commit: first every check that can refuse it, then every change.

Nothing after the checks can fail, so a refused commit changes nothing. The execution ends before
messages are sent, so messages of this commit to the ended execution are void too.
"""

from __future__ import annotations

from dataclasses import replace

from perdure.clock import to_microseconds
from perdure.contract import (
    CommitAnswer,
    InstanceStatus,
    Instant,
    Message,
    TurnCommit,
)
from perdure.errors import ActivityLeaseLost, HistoryConflict, LeaseLost

from perdure_memory._instances import Activity, Instance
from perdure_memory._store import Store


def commit_turn(store: Store, commit: TurnCommit, now: Instant) -> CommitAnswer:
    """Carry out the commit; raises without a change if it is refused."""
    instance = store.find(commit.instance, commit.incarnation)
    if instance is None:
        raise LeaseLost(commit.instance, operation="commit_turn")
    if instance.last_commit == commit.id:
        return _answer(instance, commit, now)
    _check_conditions(store, instance, commit)
    apply(store, instance, commit, now)
    return _answer(instance, commit, now)


def _check_conditions(store: Store, instance: Instance, commit: TurnCommit) -> None:
    if not instance.is_held_by(commit.token):
        raise LeaseLost(commit.instance, operation="commit_turn")
    expected = (commit.execution, commit.expected_event)
    found = (instance.execution, instance.last_event)
    if expected != found:
        raise HistoryConflict(commit.instance, expected=expected, found=found)
    lost = [
        lease.activity
        for lease in commit.finish
        if lease.instance != commit.instance
        or (activity := instance.activities.get(lease.activity)) is None
        or not activity.is_held_by(lease.token)
    ]
    if lost:
        raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")


def apply(store: Store, instance: Instance, commit: TurnCommit, now: Instant) -> None:
    """Make every change of the commit; nothing here can fail."""
    _append_events(store, instance, commit, now)
    if commit.remove:
        instance.mailbox.discard(commit.remove)
    for lease in commit.finish:
        store.drop_activity(instance, lease.activity)
    for activity_id in commit.cancel:
        store.drop_activity(instance, activity_id)
    if commit.end is not None:
        store.end_execution(instance, commit.end.status, commit.end.output, now)
    if commit.values:
        _set_values(instance, commit)
    _set_fields(instance, commit)
    store.unpark(instance)
    activities_until = None
    if commit.add and commit.end is None:
        activities_until = _add_activities(store, instance, commit, now)
    in_use, notices = _create_children(store, commit, now) if commit.create else ((), ())
    for message in commit.send:
        store.post(message, now)
    if commit.front:
        front = [message for message in commit.front if instance.is_addressed_by(message)]
        instance.mailbox.put_front(front, store.stamp(now))
    for notice in notices:
        store.post(notice, now)
    instance.activities_until = activities_until
    instance.in_use = frozenset(in_use) if in_use else _NONE
    if instance.is_running:
        _keep_or_release(store, instance, commit, now)
    store.notify_change(instance)


def _append_events(store: Store, instance: Instance, commit: TurnCommit, now: Instant) -> None:
    execution, count = instance.executions[-1], len(commit.events)
    execution.events.extend(commit.events)
    execution.event_count += count
    store.event_count += count
    instance.note_commit(commit.id, count, now)


def _set_values(instance: Instance, commit: TurnCommit) -> None:
    for key, value in commit.values.items():
        if value is None:
            instance.values.pop(key, None)
        else:
            instance.values[key] = value


def _set_fields(instance: Instance, commit: TurnCommit) -> None:
    changes = (commit.end, commit.version, commit.engine, commit.custom_status)
    if changes == _NO_CHANGES and not commit.values:
        return
    state = instance.state
    continued = commit.end is not None and commit.end.status is InstanceStatus.CONTINUED_AS_NEW
    version = None if continued and commit.unpin else state.version
    status = commit.custom_status
    instance.state = replace(
        state,
        version=version if commit.version is None else commit.version,
        engine=state.engine if commit.engine is None else commit.engine,
        custom_status=state.custom_status if status is None else status,
        custom_status_version=state.custom_status_version + (status is not None),
        value_count=len(instance.values),
    )


def _add_activities(
    store: Store, instance: Instance, commit: TurnCommit, now: Instant
) -> Instant | None:
    until: Instant | None = None
    for new in commit.add:
        if new.id in commit.cancel:
            continue
        activity = Activity(new, instance=instance, execution=commit.execution, added_at=now)
        store.add_activity(activity)
        if new.lease and commit.activity_token is not None and commit.activity_lease_for:
            until = now + to_microseconds(commit.activity_lease_for)
            activity.count = 1
            store.activities.grant_new(activity, commit.activity_token, until, now)
        else:
            store.activities.place(activity, now)
    return until


def _create_children(
    store: Store, commit: TurnCommit, now: Instant
) -> tuple[list[str], list[Message]]:
    """Create the children; returns the ids that other incarnations have, and the messages about them."""
    in_use: list[str] = []
    notices: list[Message] = []
    for child in commit.create:
        new = child.instance
        found = store.create(new, now)
        if found is not None and found.incarnation != new.incarnation:
            in_use.append(new.instance)
            if child.if_exists is not None:
                notices.append(child.if_exists)
    return in_use, notices


def _keep_or_release(store: Store, instance: Instance, commit: TurnCommit, now: Instant) -> None:
    instance.taken_from = None
    if commit.keep_for is None:
        instance.count = 0
        store.turns.release(instance, now)
    else:
        instance.count = 1
        until = now + to_microseconds(commit.keep_for)
        store.turns.keep(instance, until, now)


def _answer(instance: Instance, commit: TurnCommit, now: Instant) -> CommitAnswer:
    """The answer of the last commit, given for the first time or again."""
    if commit.keep_for is None or not instance.is_held_by(commit.token):
        return CommitAnswer(activities_until=instance.activities_until, in_use=instance.in_use)
    messages, more = instance.mailbox.deliver(now, commit.held)
    return CommitAnswer(
        lease_until=instance.leased_until,
        activities_until=instance.activities_until,
        in_use=instance.in_use,
        messages=messages,
        more=more,
    )


_NO_CHANGES = (None, None, None, None)
_NONE: frozenset[str] = frozenset()
