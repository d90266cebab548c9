"""Statements about instances, their executions and histories, and turn leases."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    and_,
    case,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from perdure_sqlite._shelves import DUE, HELD, NOW, SHELVES
from perdure_sqlite._sql.render import (
    at_most,
    by,
    constant,
    given,
    is_live,
    render,
    render_insert,
)
from perdure_sqlite._tables import (
    events,
    executions,
    instances,
    instances_by_shelf,
    instances_by_token,
    namespaces,
    turn_queues,
    turn_queues_by_key,
)

RUNNING: Final = "Running"
"""The status of an instance that has not ended."""
CONTINUED: Final = "ContinuedAsNew"
"""The status of an execution after which another has begun."""

READ_STAMP = render(
    select(namespaces.c.stamp).where(namespaces.c.number == given("which")), "which"
)
WRITE_STAMP = render(
    update(namespaces)
    .where(namespaces.c.number == given("which"))
    .values(stamp=given("new_stamp")),
    "new_stamp",
    "which",
)
_has_key = and_(
    turn_queues.c.namespace == given("namespace"),
    turn_queues.c.name == given("name"),
    turn_queues.c.version.is_not_distinct_from(given("version")),
)
FIND_TURN_QUEUE = render(
    select(turn_queues.c.number)
    .where(_has_key, turn_queues.c.engine == given("engine"))
    .with_hint(turn_queues, by(turn_queues_by_key)),
    "namespace",
    "name",
    "version",
    "engine",
)
ADD_TURN_QUEUE = render_insert(turn_queues, "namespace", "name", "version", "engine")
DROP_TURN_QUEUE = render(delete(turn_queues).where(turn_queues.c.number == given("which")), "which")

ROW_COLUMNS = (
    "number",
    "id",
    "incarnation",
    "name",
    "version",
    "engine",
    "status",
    "execution",
    "started_at",
    "last_event",
    "last_commit",
    "updated_at",
    "attempt",
    "lease_token",
    "held_until",
    "released_at",
    "shelf",
    "ready_at",
    "arrivals",
    "fronts",
)
"""As the fields of `InstanceRow`."""
STATE_COLUMNS = (
    "id",
    "incarnation",
    "name",
    "version",
    "engine",
    "execution",
    "last_event",
    "last_commit",
    "status",
    "created_at",
    "updated_at",
    "parked_reason",
    "parked_details",
    "parked_since",
    "parent_instance",
    "parent_incarnation",
    "parent_execution",
    "parent_event",
)
"""As `state_of` takes them, where the output and the status of its execution come last."""

_row = [instances.c[name] for name in ROW_COLUMNS]
_state = [instances.c[name] for name in STATE_COLUMNS]
_is_named = and_(instances.c.namespace == given("namespace"), instances.c.id == given("id"))
_has_number = instances.c.number == given("which")

FIND_INSTANCE = render(select(*_row).where(_is_named), "namespace", "id")
READ_ROW = render(select(*_row).where(_has_number), "which")
READ_RUNNING_STATE = render(
    select(*_state, null().label("output"), null().label("ended_as")).where(_has_number), "which"
)
READ_INSTANCE = render(
    select(*_state, executions.c.output, executions.c.status.label("ended_as"))
    .select_from(
        instances.outerjoin(
            executions,
            and_(
                executions.c.instance == instances.c.number,
                executions.c.execution == instances.c.execution,
            ),
        )
    )
    .where(_is_named),
    "namespace",
    "id",
)
READ_CHANGE_MARKS = render(
    select(
        instances.c.status,
        instances.c.last_commit,
        instances.c.parked_reason,
        instances.c.parked_details,
        instances.c.parked_since,
    ).where(_is_named),
    "namespace",
    "id",
)

ADD_INSTANCE = render_insert(
    instances,
    "namespace",
    "id",
    "incarnation",
    "name",
    "version",
    "engine",
    "status",
    "execution",
    "started_at",
    "last_event",
    "created_at",
    "updated_at",
    "attempt",
    "released_at",
    "shelf",
    "ready_at",
    "arrivals",
    "fronts",
    "parent_instance",
    "parent_incarnation",
    "parent_execution",
    "parent_event",
)


def _change(*columns: str, clear: tuple[str, ...] = (), taking: bool = False) -> str:
    """Set these columns, in the order of the table, and clear the others.

    With `taking`, a lease that the row has is taken over.
    """
    values: dict[str, ColumnElement[Any]] = {name: given(f"new_{name}") for name in columns}
    values |= dict.fromkeys(clear, null())
    if taking:
        values["taken_from"] = func.coalesce(instances.c.lease_token, instances.c.taken_from)
    statement = update(instances).where(_has_number).values(values)
    return render(statement, *(f"new_{name}" for name in columns), "which")


SAVE_ARRIVALS = _change("shelf", "ready_at", "arrivals", "fronts")
SAVE_SHELF = _change("shelf", "ready_at")
GRANT_TURN = _change("attempt", "lease_token", "held_until", "shelf", "ready_at", taking=True)
RELEASE_TURN = _change(
    "attempt", "held_until", "released_at", "shelf", "ready_at", clear=("lease_token",)
)
ACCOUNT_FOR_TURN = render(
    update(instances)
    .where(_is_named, instances.c.taken_from == given("token"))
    .values(attempt=instances.c.attempt - constant(1), taken_from=null()),
    "namespace",
    "id",
    "token",
)
"""Takes back the count of a lease that was taken over while its holder lived."""
PARK = render(
    update(instances)
    .where(_has_number)
    .values(
        parked_reason=given("new_reason"),
        parked_details=given("new_details"),
        parked_since=case(
            (instances.c.parked_reason == given("same_reason"), instances.c.parked_since),
            else_=given("since"),
        ),
    ),
    "new_reason",
    "new_details",
    "same_reason",
    "since",
    "which",
)

_FORGOTTEN = ("parked_reason", "parked_details", "parked_since", "taken_from")
"""What a commit clears."""
_PROGRESS = ("last_event", "last_commit", "updated_at", "attempt", "held_until", "released_at")
_MAILBOX = ("shelf", "ready_at", "arrivals", "fronts")
# A column that an index holds is written only where it changes, for the sake of that index.
COMMIT_KEEPING = _change(*_PROGRESS, *_MAILBOX, clear=_FORGOTTEN)
COMMIT_RELEASING = _change(*_PROGRESS, *_MAILBOX, clear=("lease_token", *_FORGOTTEN))
END_INSTANCE = _change("status")
CHANGE_PIN = _change("version", "engine")
BEGIN_EXECUTION = _change("execution", "started_at")
ADD_EXECUTION = render_insert(
    executions,
    "instance",
    "execution",
    "status",
    "event_count",
    "started_at",
    "completed_at",
    "output",
)
ADD_EVENT = render(insert(events), "instance", "execution", "number", "data")
READ_EVENTS = render(
    select(events.c.number, events.c.data)
    .where(
        events.c.instance == given("instance"),
        events.c.execution == given("execution"),
        events.c.number > given("after"),
    )
    .order_by(events.c.number)
    .suffix_with(at_most("count")),
    "instance",
    "execution",
    "after",
    "count",
)

_new_end = given("new_end")
_is_hidden_later = and_(
    instances.c.shelf.is_not(None),
    or_(
        instances.c.shelf % constant(SHELVES) == constant(HELD),
        instances.c.ready_at < _new_end,
    ),
)
RENEW_TURN = render(
    update(instances)
    .where(_is_named, instances.c.lease_token == given("token"))
    .values(
        held_until=_new_end,
        shelf=case(
            (
                _is_hidden_later,
                instances.c.shelf - instances.c.shelf % constant(SHELVES) + constant(HELD),
            ),
            else_=instances.c.shelf,
        ),
        ready_at=case((_is_hidden_later, _new_end), else_=instances.c.ready_at),
    ),
    "new_end",
    "new_end",
    "new_end",
    "new_end",
    "namespace",
    "id",
    "token",
)
LEASED_TURNS = render(
    select(instances.c.number)
    .with_hint(instances, by(instances_by_token))
    .where(
        instances.c.lease_token == given("token"),
        instances.c.namespace == given("namespace"),
        is_live(instances.c.held_until),
    )
    .order_by(instances.c.number),
    "token",
    "namespace",
    "now",
    "farthest",
)
SHELVED_TURNS = render(
    select(instances.c.number, instances.c.ready_at)
    .with_hint(instances, by(instances_by_shelf))
    .where(
        instances.c.shelf == given("shelf"),
        instances.c.ready_at > given("after"),
        instances.c.ready_at <= given("until"),
        instances.c.released_at <= given("released_until"),
    )
    .order_by(instances.c.ready_at)
    .suffix_with(at_most("count")),
    "shelf",
    "after",
    "until",
    "released_until",
    "count",
)


def _shelf_end(kind: int, *, last: bool = False) -> ScalarSelect[Any]:
    end = func.max if last else func.min
    return (
        select(end(instances.c.ready_at))
        .with_hint(instances, by(instances_by_shelf))
        .where(instances.c.shelf == turn_queues.c.number * constant(SHELVES) + constant(kind))
        .scalar_subquery()
    )


_heads = select(
    turn_queues.c.number,
    _shelf_end(NOW),
    _shelf_end(DUE),
    _shelf_end(HELD),
    _shelf_end(HELD, last=True),
    turn_queues.c.name,
    turn_queues.c.version,
    turn_queues.c.engine,
).with_hint(turn_queues, by(turn_queues_by_key))
"""Of queues: the first `ready_at` of each shelf, the last of HELD, and what they serve."""
TURN_HEADS = render(
    _heads.where(turn_queues.c.namespace == given("namespace")).suffix_with(at_most("count")),
    "namespace",
    "count",
)
TURN_HEADS_OF = render(
    _heads.where(_has_key, turn_queues.c.engine <= given("engine")),
    "namespace",
    "name",
    "version",
    "engine",
)
