"""Statements about messages."""

from __future__ import annotations

from typing import Final

from perdure.contract import CANCEL_ID, MessageKind
from sqlalchemy import and_, case, delete, func, or_, select, tuple_

from perdure_sqlite._schema.tables import early_events, messages
from perdure_sqlite._sql.render import at_most, constant, given, render, render_insert

START: Final = 0
"""The place of a start message in the mailbox."""
FRONT: Final = 1
"""The place of messages that a commit put to the front."""
USUAL: Final = 2
"""The place of all other messages."""

_of_instance = messages.c.instance == given("instance")
_is_visible = or_(messages.c.visible_at.is_(None), messages.c.visible_at <= given("now"))
_order = (messages.c.place, messages.c.due, messages.c.arrival)

ADD_MESSAGE = render_insert(
    messages,
    "instance",
    "place",
    "due",
    "arrival",
    "id",
    "kind",
    "addressed",
    "execution",
    "visible_at",
    "data",
    unless_there=True,
)
REMOVE_MESSAGE = render(
    delete(messages).where(_of_instance, messages.c.id == given("id")), "instance", "id"
)
REMOVE_MAILBOX = render(delete(messages).where(_of_instance), "instance")
REMOVE_STARTS = render(
    delete(messages).where(_of_instance, messages.c.place == constant(START)), "instance"
)
REMOVE_OTHER_EXECUTIONS = render(
    delete(messages).where(
        _of_instance,
        messages.c.execution.is_not(None),
        messages.c.execution != given("execution"),
    ),
    "instance",
    "execution",
)
FIRST_MESSAGE = render(
    select(messages.c.place, messages.c.due, messages.c.visible_at)
    .where(_of_instance)
    .order_by(*_order)
    .suffix_with(at_most("count")),
    "instance",
    "count",
)
FIRST_USUAL_DUE = render(
    select(func.min(messages.c.due)).where(_of_instance, messages.c.place == constant(USUAL)),
    "instance",
)
READ_MAILBOX_TIMES = render(
    select(
        func.min(
            case(
                (
                    _is_visible,
                    case((messages.c.place == constant(FRONT), constant(0)), else_=messages.c.due),
                )
            )
        ),
        func.min(messages.c.visible_at),
    ).where(_of_instance),
    "now",
    "instance",
)
"""Since when a message has been visible, and when the first scheduled message is due."""
_delivered = (
    messages.c.id,
    messages.c.kind,
    messages.c.data,
    messages.c.addressed,
    messages.c.execution,
    messages.c.visible_at,
)
FIND_CANCELLATION = render(
    select(*_delivered).where(
        _of_instance,
        messages.c.id == constant(CANCEL_ID),
        messages.c.kind == constant(MessageKind.CANCEL.value),
        _is_visible,
    ),
    "instance",
    "now",
)
VISIBLE_MESSAGES = render(
    select(*_delivered)
    .where(
        _of_instance,
        # No message behind the horizon is visible, so scheduled messages are not read.
        tuple_(messages.c.place, messages.c.due) <= tuple_(constant(USUAL), given("horizon")),
        _is_visible,
    )
    .order_by(*_order)
    .suffix_with(at_most("count")),
    "instance",
    "horizon",
    "now",
    "count",
)

_waits_for = and_(
    early_events.c.namespace == given("namespace"), early_events.c.instance == given("instance")
)
ADD_EARLY_EVENT = render_insert(
    early_events,
    "namespace",
    "instance",
    "id",
    "due",
    "incarnation",
    "execution",
    "visible_at",
    "data",
    "arrived_at",
    unless_there=True,
)
READ_EARLY_EVENTS = render(
    select(
        early_events.c.id,
        early_events.c.data,
        early_events.c.incarnation,
        early_events.c.execution,
        early_events.c.visible_at,
        early_events.c.due,
    )
    .where(_waits_for)
    .order_by(early_events.c.number),
    "namespace",
    "instance",
)
REMOVE_EARLY_EVENTS = render(delete(early_events).where(_waits_for), "namespace", "instance")
