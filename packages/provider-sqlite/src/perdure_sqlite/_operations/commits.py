"""Carrying out a commit: first every check that can refuse it, then every change.

Nothing after the checks can refuse the commit, so a refused commit leaves no change in the
transaction that it shares with others (COMMIT-7, COMMIT-26). A large commit is carried out in steps,
between which the event loop does other work. Whether a message is void depends on
the state after the commit, so the execution ends before messages are put into mailboxes.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar, cast

from perdure.clock import to_microseconds
from perdure.contract import (
    CommitAnswer,
    Instant,
    NewActivity,
    TurnCommit,
)
from perdure.errors import ActivityLeaseLost, HistoryConflict, LeaseLost

from perdure_sqlite._operations.activities import add_activity
from perdure_sqlite._operations.executions import append_events, end_execution, save_progress
from perdure_sqlite._operations.instances import add_instance
from perdure_sqlite._operations.mailboxes import Mailboxes, deliver, put_front, update_bucket
from perdure_sqlite._operations.turns import holds
from perdure_sqlite._operations.values import change_values, set_custom_status
from perdure_sqlite._sql.activities import (
    FIND_HELD_ACTIVITY,
    FINISH_ACTIVITY,
    REMOVE_ACTIVITY,
)
from perdure_sqlite._sql.answers import KEEP_IDS_IN_USE, READ_IDS_IN_USE
from perdure_sqlite._sql.instances import CHANGE_PIN, RUNNING
from perdure_sqlite._sql.mailboxes import REMOVE_MESSAGE
from perdure_sqlite._sql.rows import InstanceRow
from perdure_sqlite._writes.transaction import Transaction

_NOTHING = timedelta(0)
_AT_ONCE = 200
"""How much of a commit is carried out in one step."""
_Some = TypeVar("_Some")


def commit_turn(
    transaction: Transaction, commit: TurnCommit
) -> CommitAnswer | Generator[None, None, CommitAnswer]:
    """Carry out the commit, or return the steps of a large one; raises without a change if it is refused."""
    row = transaction.find(commit.instance)
    if row is None or row.incarnation != commit.incarnation:
        raise LeaseLost(commit.instance, operation="commit_turn")
    if row.last_commit == commit.id:
        return _answer_again(transaction, row, commit)
    if not holds(row, commit.token):
        raise LeaseLost(commit.instance, operation="commit_turn")
    if row.execution != commit.execution or row.last_event != commit.expected_event:
        raise HistoryConflict(
            commit.instance,
            expected=(commit.execution, commit.expected_event),
            found=(row.execution, row.last_event),
        )
    if commit.finish:
        _finish_activities(transaction, row, commit)
    size = len(commit.events) + len(commit.add) + len(commit.create) + len(commit.send)
    if size > _AT_ONCE:
        return _steps(transaction, row, commit)
    return carry_out(transaction, row, commit)


def _finish_activities(transaction: Transaction, row: InstanceRow, commit: TurnCommit) -> None:
    """Remove the finished activities; raises if one of their leases is lost.

    This is the last check. A single activity is checked and removed in one statement.
    """
    keys = [(row.number, lease.activity, lease.token) for lease in commit.finish]
    if len(keys) == 1 and commit.finish[0].instance == row.id:
        if transaction.execute(FINISH_ACTIVITY, keys[0]).rowcount == 0:
            lost = [commit.finish[0].activity]
            raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")
        return
    lost = [
        lease.activity
        for lease, key in zip(commit.finish, keys, strict=True)
        if lease.instance != row.id
        or transaction.execute(FIND_HELD_ACTIVITY, key).fetchone() is None
    ]
    if lost:
        raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")
    transaction.executemany(FINISH_ACTIVITY, keys)


def carry_out(transaction: Transaction, row: InstanceRow, commit: TurnCommit) -> CommitAnswer:
    """Make every change of a commit that was not refused."""
    steps = _steps(transaction, row, commit)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("CommitAnswer", done.value)


def _steps(
    transaction: Transaction, row: InstanceRow, commit: TurnCommit
) -> Generator[None, None, CommitAnswer]:
    number = row.number
    if commit.events and commit.end is None:
        for some in _parts(commit.events):
            append_events(transaction, row, some)
            yield
    # Without a bucket the mailbox is empty.
    if commit.remove and row.bucket is not None:
        transaction.executemany(REMOVE_MESSAGE, [(number, message) for message in commit.remove])
    if commit.cancel:
        transaction.executemany(REMOVE_ACTIVITY, [(number, activity) for activity in commit.cancel])
    if commit.end is not None:
        end_execution(transaction, row, commit.end, commit.events)
    if commit.version is not None or commit.engine is not None or commit.unpin:
        _change_pin(transaction, row, commit)
    if commit.custom_status is not None:
        set_custom_status(transaction, row, commit.custom_status)
    if commit.values:
        change_values(transaction, row, commit.values)
    until: Instant | None = None
    if commit.add and commit.end is None:  # else they would belong to the execution that ends
        for added in _parts(commit.add):
            until = _add_activities(transaction, row, commit, added) or until
            yield
    in_use: frozenset[str] = frozenset()
    if commit.create or commit.send or commit.front:
        in_use = yield from _create_and_send(transaction, row, commit)
    return _finish_row(
        transaction, row, commit, CommitAnswer(activities_until=until, in_use=in_use)
    )


def _change_pin(transaction: Transaction, row: InstanceRow, commit: TurnCommit) -> None:
    if commit.version is not None:
        row.version = commit.version
    elif commit.unpin:
        row.version = None
    if commit.engine is not None:
        row.engine = commit.engine
    transaction.execute(CHANGE_PIN, (row.version, row.engine, row.number))


def _add_activities(
    transaction: Transaction, row: InstanceRow, commit: TurnCommit, added: Sequence[NewActivity]
) -> Instant | None:
    """Add some of its activities; returns when the leases of those added leased end."""
    leases_end: Instant | None = None
    until = transaction.now + to_microseconds(commit.activity_lease_for or _NOTHING)
    for new in added:
        if commit.cancel and new.id in commit.cancel:
            continue
        if new.lease:
            leases_end = until
            add_activity(transaction, row, new, token=commit.activity_token, until=until)
        else:
            add_activity(transaction, row, new)
    return leases_end


def _create_and_send(
    transaction: Transaction, row: InstanceRow, commit: TurnCommit
) -> Generator[None, None, frozenset[str]]:
    """Create children and send messages; returns the ids that other incarnations have."""
    mailboxes = Mailboxes(transaction, row)
    in_use: set[str] = set()
    for child in commit.create:
        new = child.instance
        found = mailboxes.find(new.instance)
        if found is None:
            mailboxes.add_row(add_instance(transaction, new))
        elif found.incarnation != new.incarnation:
            in_use.add(new.instance)
            if child.if_exists is not None:
                mailboxes.put(child.if_exists)
        yield
    if in_use:
        ids = json.dumps(sorted(in_use))
        transaction.execute(KEEP_IDS_IN_USE, (row.number, commit.id, ids))
    for message in commit.send:
        mailboxes.put(message)
        yield
    if commit.front:
        put_front(transaction, row, commit.front)
        if row.bucket is None:
            # The right bucket is set later; any bucket shows that the mailbox is not empty.
            update_bucket(transaction, row)
    mailboxes.save(besides=row)
    return frozenset(in_use)


def _finish_row(
    transaction: Transaction, row: InstanceRow, commit: TurnCommit, answer: CommitAnswer
) -> CommitAnswer:
    """Write the row, and answer; the end of the instance always releases the lease."""
    keeps = commit.keep_for is not None and row.status == RUNNING
    save_progress(
        transaction,
        row,
        commit.id,
        keep_for=commit.keep_for if keeps else None,
        continues=commit.end is None,
    )
    return _with_messages(transaction, row, commit, answer) if keeps else answer


def _with_messages(
    transaction: Transaction, row: InstanceRow, commit: TurnCommit, answer: CommitAnswer
) -> CommitAnswer:
    if row.bucket is None:
        messages, more = (), False
    else:
        messages, more = deliver(transaction, row, commit.held)
    return CommitAnswer(
        lease_until=row.held_until,
        activities_until=answer.activities_until,
        in_use=answer.in_use,
        messages=messages,
        more=more,
    )


def _answer_again(transaction: Transaction, row: InstanceRow, commit: TurnCommit) -> CommitAnswer:
    """The answer of a commit that was carried out before.

    Of the answer only the ids in use are stored; the rest follows from the row, whose `updated_at`
    is the time of the last commit.
    """
    leased = any(new.lease and new.id not in commit.cancel for new in commit.add)
    until: Instant | None = None
    if leased and commit.end is None:
        until = row.updated_at + to_microseconds(commit.activity_lease_for or _NOTHING)
    answer = CommitAnswer(activities_until=until, in_use=_ids_in_use(transaction, row, commit))
    if commit.keep_for is None or not holds(row, commit.token):
        return answer
    return _with_messages(transaction, row, commit, answer)


def _ids_in_use(transaction: Transaction, row: InstanceRow, commit: TurnCommit) -> frozenset[str]:
    """The ids that the commit found in use when it was carried out."""
    if not commit.create:
        return frozenset()
    found = transaction.execute(READ_IDS_IN_USE, (row.number, commit.id)).fetchone()
    return frozenset() if found is None else frozenset(json.loads(found[0]))


def _parts(items: Sequence[_Some]) -> Iterator[Sequence[_Some]]:
    if len(items) <= _AT_ONCE:
        yield items
        return
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
