"""Recovery: running an instance again, and ending one without a turn.

As in a commit, every check comes before the first change, and nothing after them can fail.
"""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import (
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    Instant,
    TurnCommit,
)
from perdure.errors import HistoryConflict, InstanceNotFound

from perdure_memory._commit import apply
from perdure_memory._instances import Instance
from perdure_memory._store import Store


def reopen_instance(store: Store, reopening: InstanceReopening, now: Instant) -> None:
    """Begin the next execution; raises without a change if it is refused."""
    instance = _find(store, reopening.instance, reopening.incarnation)
    state = instance.state
    if state.last_commit == reopening.id:
        return
    if state.execution != reopening.execution:
        raise HistoryConflict(
            reopening.instance,
            expected=(reopening.execution, state.last_event),
            found=(state.execution, state.last_event),
            operation="reopen_instance",
        )
    store.reopen(instance, now)
    version = None if reopening.unpin else state.version
    instance.state = replace(
        instance.state,
        version=version if reopening.version is None else reopening.version,
        engine=state.engine if reopening.engine is None else reopening.engine,
        last_commit=reopening.id,
        updated_at=now,
    )
    store.unpark(instance)
    instance.activities_until, instance.in_use = None, frozenset()
    instance.mailbox.put_front((reopening.start,), store.stamp(now))
    instance.count = 0
    instance.taken_from = None
    store.turns.release(instance, now)
    store.notify_change(instance)


def terminate_instance(store: Store, termination: InstanceTermination, now: Instant) -> bool:
    """End a running instance as Failed; returns whether this termination has ended it."""
    instance = _find(store, termination.instance, termination.incarnation)
    state = instance.state
    if not instance.is_running:
        return state.last_commit == termination.id
    commit = TurnCommit(
        id=termination.id,
        instance=termination.instance,
        incarnation=termination.incarnation,
        token="",
        execution=state.execution,
        expected_event=state.last_event,
        events=termination.events,
        send=termination.send,
        end=ExecutionEnd(status=InstanceStatus.FAILED, output=termination.output),
    )
    apply(store, instance, commit, now)
    return True


def _find(store: Store, instance_id: str, incarnation: str) -> Instance:
    instance = store.find(instance_id, incarnation)
    if instance is None:
        raise InstanceNotFound(instance_id)
    return instance
