"""Carrying out a commit: first everything that can refuse it, then everything that it changes.

Nothing after the checks can refuse, so a refused commit has changed nothing although it shares
its transaction with others (COMMIT-7, COMMIT-26). What the commit makes void is judged by the
state that it leaves, so the execution ends before anything is put into a mailbox.
"""

from __future__ import annotations

from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract import (
    CommitAnswer,
    ExecutionEnd,
    InstanceStatus,
    Instant,
    TurnCommit,
)
from perdure.errors import ActivityLeaseLost, HistoryConflict, LeaseLost

from perdure_sqlite._activities import add_activity, remove_activities
from perdure_sqlite._creating import add_instance
from perdure_sqlite._post import Post, deliver, put_front, reshelve
from perdure_sqlite._rows import InstanceRow
from perdure_sqlite._session import Session
from perdure_sqlite._sql.activities import (
    FIND_HELD_ACTIVITY,
    FINISH_ACTIVITY,
    REMOVE_ACTIVITY,
)
from perdure_sqlite._sql.instances import (
    ADD_EVENT,
    ADD_EXECUTION,
    BEGIN_EXECUTION,
    CHANGE_PIN,
    COMMIT_KEEPING,
    COMMIT_RELEASING,
    END_INSTANCE,
    RUNNING,
)
from perdure_sqlite._sql.mailboxes import (
    REMOVE_MAILBOX,
    REMOVE_MESSAGE,
    REMOVE_OTHER_EXECUTIONS,
)
from perdure_sqlite._turns import holds

_NOTHING = timedelta(0)


def commit_turn(session: Session, commit: TurnCommit) -> CommitAnswer:
    """Carry out the commit, or raise and change nothing."""
    row = session.find(commit.instance)
    if row is None or row.incarnation != commit.incarnation:
        raise LeaseLost(commit.instance, operation="commit_turn")
    if row.last_commit == commit.id:
        return _answer_again(session, row, commit)
    if not holds(row, commit.token):
        raise LeaseLost(commit.instance, operation="commit_turn")
    if row.execution != commit.execution or row.last_event != commit.expected_event:
        raise HistoryConflict(
            commit.instance,
            expected=(commit.execution, commit.expected_event),
            found=(row.execution, row.last_event),
        )
    if commit.finish:
        _finish_activities(session, row, commit)
    return _carry_out(session, row, commit)


def _finish_activities(session: Session, row: InstanceRow, commit: TurnCommit) -> None:
    """The last precondition, and for a single activity its removal in the same statement."""
    keys = [(row.number, lease.activity, lease.token) for lease in commit.finish]
    if len(keys) == 1 and commit.finish[0].instance == row.id:
        if session.execute(FINISH_ACTIVITY, keys[0]).rowcount == 0:
            lost = [commit.finish[0].activity]
            raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")
        return
    lost = [
        lease.activity
        for lease, key in zip(commit.finish, keys, strict=True)
        if lease.instance != row.id or session.execute(FIND_HELD_ACTIVITY, key).fetchone() is None
    ]
    if lost:
        raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")
    session.executemany(FINISH_ACTIVITY, keys)


def _carry_out(session: Session, row: InstanceRow, commit: TurnCommit) -> CommitAnswer:
    number = row.number
    if commit.events:
        _append_events(session, row, commit)
    # Without a shelf there is nothing in the mailbox.
    if commit.remove and row.shelf is not None:
        session.executemany(REMOVE_MESSAGE, [(number, message) for message in commit.remove])
    if commit.cancel:
        session.executemany(REMOVE_ACTIVITY, [(number, activity) for activity in commit.cancel])
    if commit.end is not None:
        _end_execution(session, row, commit.end)
    if commit.version is not None or commit.engine is not None or commit.unpin:
        _change_pin(session, row, commit)
    until = _add_activities(session, row, commit) if commit.add else None
    in_use: frozenset[str] = frozenset()
    if commit.create or commit.send or commit.front:
        in_use = _post_all(session, row, commit)
    return _settle(session, row, commit, CommitAnswer(activities_until=until, in_use=in_use))


def _append_events(session: Session, row: InstanceRow, commit: TurnCommit) -> None:
    first = row.last_event + 1
    session.executemany(
        ADD_EVENT,
        [
            (row.number, row.execution, number, data)
            for number, data in enumerate(commit.events, first)
        ],
    )
    row.last_event += len(commit.events)


def _end_execution(session: Session, row: InstanceRow, end: ExecutionEnd) -> None:
    """Close the execution, and drop what is void with it."""
    now, status = session.now, end.status.value
    session.execute(
        ADD_EXECUTION,
        (row.number, row.execution, status, row.last_event, row.started_at, now, end.output),
    )
    remove_activities(session, row)
    if end.status is InstanceStatus.CONTINUED_AS_NEW:
        row.execution, row.started_at, row.last_event = row.execution + 1, now, 0
        session.execute(BEGIN_EXECUTION, (row.execution, now, row.number))
        if row.shelf is not None:
            session.execute(REMOVE_OTHER_EXECUTIONS, (row.number, row.execution))
        return
    row.status = status
    session.execute(END_INSTANCE, (status, row.number))
    if row.shelf is not None:
        session.execute(REMOVE_MAILBOX, (row.number,))


def _change_pin(session: Session, row: InstanceRow, commit: TurnCommit) -> None:
    continued = commit.end is not None and commit.end.status is InstanceStatus.CONTINUED_AS_NEW
    if commit.version is not None:
        row.version = commit.version
    elif continued and commit.unpin:
        row.version = None
    if commit.engine is not None:
        row.engine = commit.engine
    session.execute(CHANGE_PIN, (row.version, row.engine, row.number))


def _add_activities(session: Session, row: InstanceRow, commit: TurnCommit) -> Instant | None:
    """Add the activities; returns the end of the leases of those that are added leased."""
    if commit.end is not None:
        # They would belong to the execution that ends, and be void at once.
        return None
    leases_end: Instant | None = None
    until = session.now + to_microseconds(commit.activity_lease_for or _NOTHING)
    for new in commit.add:
        if commit.cancel and new.id in commit.cancel:
            continue
        if new.lease:
            leases_end = until
            add_activity(session, row, new, token=commit.activity_token, until=until)
        else:
            add_activity(session, row, new)
    return leases_end


def _post_all(session: Session, row: InstanceRow, commit: TurnCommit) -> frozenset[str]:
    """Create and send; returns the ids of children that other incarnations have."""
    post = Post(session, row)
    in_use: set[str] = set()
    for child in commit.create:
        new = child.instance
        found = post.find(new.instance)
        if found is None:
            post.know(add_instance(session, new))
        elif found.incarnation != new.incarnation:
            in_use.add(new.instance)
            if child.if_exists is not None:
                post.put(child.if_exists)
    for message in commit.send:
        post.put(message)
    if commit.front:
        put_front(session, row, commit.front)
        if row.shelf is None:
            # Where it stands is settled later; that it stands somewhere says it has mail.
            reshelve(session, row)
    post.save(but=row)
    return frozenset(in_use)


def _settle(
    session: Session, row: InstanceRow, commit: TurnCommit, answer: CommitAnswer
) -> CommitAnswer:
    """Keep the lease or release it, and write the row."""
    now = session.now
    keeps = commit.keep_for is not None and row.status == RUNNING
    if keeps:
        row.attempt, row.held_until = 1, now + to_microseconds(commit.keep_for or _NOTHING)
    else:
        row.attempt, row.held_until, row.released_at = 0, None, now
    if row.status != RUNNING:
        row.shelf = row.ready_at = None
    elif row.shelf is not None:
        reshelve(session, row)
        session.expect_turn(row.shelf, row.ready_at)
    session.execute(
        COMMIT_KEEPING if keeps else COMMIT_RELEASING,
        (
            row.last_event,
            commit.id,
            now,
            row.attempt,
            row.held_until,
            row.released_at,
            row.shelf,
            row.ready_at,
            row.arrivals,
            row.fronts,
            row.number,
        ),
    )
    session.note_change(row.id, goes_on=commit.end is None)
    return _with_messages(session, row, commit, answer) if keeps else answer


def _with_messages(
    session: Session, row: InstanceRow, commit: TurnCommit, answer: CommitAnswer
) -> CommitAnswer:
    if row.shelf is None:
        messages, more = (), False
    else:
        messages, more = deliver(session, row, commit.held)
    return CommitAnswer(
        lease_until=row.held_until,
        activities_until=answer.activities_until,
        in_use=answer.in_use,
        messages=messages,
        more=more,
    )


def _answer_again(session: Session, row: InstanceRow, commit: TurnCommit) -> CommitAnswer:
    """The answer of a commit that stands already.

    Nothing of it is stored, since it follows from what is: no instance gives up its id, and
    `updated_at` is the time of the last commit.
    """
    leased = any(new.lease and new.id not in commit.cancel for new in commit.add)
    until: Instant | None = None
    if leased and commit.end is None:
        until = row.updated_at + to_microseconds(commit.activity_lease_for or _NOTHING)
    in_use = frozenset(
        new.instance
        for new in (child.instance for child in commit.create)
        if (found := session.find(new.instance)) is not None
        and found.incarnation != new.incarnation
    )
    answer = CommitAnswer(activities_until=until, in_use=in_use)
    if not holds(row, commit.token):
        return answer
    return _with_messages(session, row, commit, answer)
