"""The schema: every table, in its present version.

An instance has a number, and other tables refer to it by that number, so that the text of its id is
stored once. What changes with every turn is in `turns`, a narrow table whose rows leave room in
their pages: the update of a commit changes no indexed column, so that PostgreSQL writes it beside
the old row and no index grows (a HOT update). Payloads have tables of their own.

`events` has the histories of running executions, and stays small: the commit that ends an execution
packs its events into one value in `executions`, and removes the rows. Otherwise new rows would fill
the room that each page of old ones has left, and each would cost a page that is read, written, and
logged as a whole.

An id for which external events wait has a row in `instances` too, with the status `Awaited`. The
unique index on the id therefore decides between the first event for an id and the creation of the
instance, without any other lock.

`kind` and `ready_at` tell when an instance or an activity can be leased:

- READY: something is visible and nothing hides it; `ready_at` is since when
- SCHEDULED: nothing is visible yet; `ready_at` is when the first message or the activity is due
- HIDDEN: a lease or a delay hides it at least until `ready_at`
- NULL: there is nothing to lease

A row can be in a kind too early, since leases are extended without touching the index: a look for
work checks each row that it reads, and moves it. A row is never in a kind too late, with one
exception: a clock that was far ahead leaves a HIDDEN row with an end in the far future, which is
void, and which every look finds at the end of the index.

Texts have no character U+0000, which PostgreSQL cannot store: `perdure_postgres._texts` escapes it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA: Final = "perdure"
"""The schema in these definitions; statements are rendered for the schema of the options."""
READY: Final = 0
SCHEDULED: Final = 1
HIDDEN: Final = 2
AWAITED: Final = "Awaited"
"""The status of an id for which events wait, and which no instance has."""

metadata = MetaData(schema=SCHEMA)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    # By bytes, whatever the collation of the database: two ids that differ are never one.
    return Column(name, Text(collation="C"), nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _identity(kind: type[Integer] = BigInteger) -> Column[int]:
    return Column("number", kind, Identity(always=True), primary_key=True)


meta = Table(
    "meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False)
)
namespaces = Table("namespaces", metadata, _identity(Integer), _text("name"))
namespaces_by_name = Index("namespaces_by_name", namespaces.c.name, unique=True)

turn_queues = Table(
    "turn_queues",
    metadata,
    _identity(Integer),
    Column("namespace", Integer, nullable=False),
    _text("name"),
    # Empty, or an equals sign and the version: NULL would not be unique.
    _text("pin"),
    Column("engine", Integer, nullable=False),
    UniqueConstraint("namespace", "name", "pin", "engine", name="turn_queues_by_key"),
)
activity_queues = Table(
    "activity_queues",
    metadata,
    _identity(Integer),
    Column("namespace", Integer, nullable=False),
    _text("name"),
    # Empty, or an equals sign and the tag.
    _text("tag"),
    UniqueConstraint("namespace", "name", "tag", name="activity_queues_by_key"),
)

instances = Table(
    "instances",
    metadata,
    _identity(),
    Column("namespace", Integer, nullable=False),
    _text("id"),
    _text("incarnation"),
    _text("name"),
    _text("version", nullable=True),
    Column("engine", Integer, nullable=False),
    _text("status"),
    Column("execution", Integer, nullable=False),
    Column("first_execution", Integer, nullable=False),
    _number("started_at"),
    _number("created_at"),
    Column("continued", Boolean, nullable=False),
    _text("parent_instance", nullable=True),
    _text("parent_incarnation", nullable=True),
    Column("parent_execution", Integer),
    Column("parent_event", Integer),
    Column("labels", JSONB),
)
instances_by_id = Index("instances_by_id", instances.c.namespace, instances.c.id, unique=True)
# A server that takes the table for empty would as soon read all of a namespace by one of these as find
# an instance by its id. So each has a condition that no search by id implies, and which listings meet.
_newest_first = (instances.c.created_at.desc(), instances.c.number.desc())
instances_by_status = Index(
    "instances_by_status",
    instances.c.status,
    instances.c.namespace,
    *_newest_first,
    postgresql_where=instances.c.status != "",
)
instances_by_name = Index(
    "instances_by_name",
    instances.c.name,
    instances.c.namespace,
    *_newest_first,
    postgresql_where=instances.c.status != AWAITED,
)
instances_by_parent = Index(
    "instances_by_parent",
    instances.c.parent_instance,
    instances.c.namespace,
    *_newest_first,
    postgresql_where=instances.c.parent_instance.is_not(None),
)
instances_continued = Index(
    "instances_continued",
    instances.c.namespace,
    *_newest_first,
    postgresql_where=instances.c.continued,
)
labels = Table(
    "labels",
    metadata,
    Column("namespace", Integer, nullable=False),
    _text("key"),
    _text("value"),
    _number("created_at"),
    _number("instance"),
)
labels_by_value = Index(
    "labels_by_value",
    labels.c.namespace,
    labels.c.key,
    labels.c.value,
    labels.c.created_at.desc(),
    labels.c.instance.desc(),
)
labels_by_instance = Index("labels_by_instance", labels.c.instance)

turns = Table(
    "turns",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("queue", Integer, nullable=False),
    Column("kind", SmallInteger),
    _number("ready_at", nullable=True),
    # The lease that stands; without a token, `held_until` is the end of a delay.
    _text("token", nullable=True),
    _number("held_until", nullable=True),
    Column("attempt", Integer, nullable=False),
    _number("released_at"),
    _text("taken_from", nullable=True),
    Column("last_event", Integer, nullable=False),
    _text("last_commit", nullable=True),
    _number("activities_until", nullable=True),
    Column("in_use", ARRAY(Text)),
    _number("updated_at"),
    # Messages arrive in this order, and none is stamped earlier than the one before.
    _number("arrivals"),
    _number("fronts"),
    _number("stamp"),
    _text("parked_reason", nullable=True),
    _text("parked_details", nullable=True),
    _number("parked_since", nullable=True),
    Column("custom_status_version", Integer, nullable=False),
    Column("value_count", Integer, nullable=False),
)
turns_by_readiness = Index(
    "turns_by_readiness",
    turns.c.queue,
    turns.c.kind,
    turns.c.ready_at,
    postgresql_where=turns.c.kind.is_not(None),
)
turns_parked = Index(
    "turns_parked", turns.c.parked_reason, postgresql_where=turns.c.parked_reason.is_not(None)
)

messages = Table(
    "messages",
    metadata,
    _number("instance"),
    # The order of delivery: 0 for a start, 1 for the front, 2 for all others.
    Column("rank", SmallInteger, nullable=False),
    _number("position"),
    _number("arrival"),
    _text("id"),
    _text("kind"),
    Column("addressed", Boolean, nullable=False),
    Column("execution", Integer),
    _number("visible_at", nullable=True),
    _number("due"),
    _number("arrived_at"),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instance", "rank", "position", "arrival", name="messages_in_order"),
)
messages_by_id = Index("messages_by_id", messages.c.instance, messages.c.id, unique=True)

activities = Table(
    "activities",
    metadata,
    _number("instance"),
    _text("id"),
    Column("queue", Integer, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    _number("ready_at"),
    _number("place"),
    _text("token", nullable=True),
    _number("held_until", nullable=True),
    Column("delivery", Integer, nullable=False),
    _number("released_at", nullable=True),
    _text("taken_from", nullable=True),
    _number("visible_at", nullable=True),
    _number("added_at"),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instance", "id", name="activities_by_id"),
)
activities_by_readiness = Index(
    "activities_by_readiness",
    activities.c.queue,
    activities.c.kind,
    activities.c.ready_at,
    activities.c.place,
)

executions = Table(
    "executions",
    metadata,
    _number("instance"),
    Column("execution", Integer, nullable=False),
    _text("status"),
    Column("event_count", Integer, nullable=False),
    _number("started_at"),
    _number("completed_at"),
    Column("output", LargeBinary),
    # All events; NULL if they are still rows.
    Column("history", LargeBinary),
    PrimaryKeyConstraint("instance", "execution", name="executions_by_number"),
)
events = Table(
    "events",
    metadata,
    _number("instance"),
    Column("execution", Integer, nullable=False),
    # The last event of the row.
    Column("number", Integer, nullable=False),
    Column("count", SmallInteger, nullable=False, server_default="1"),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instance", "execution", "number", name="events_by_number"),
)
custom_statuses = Table(
    "custom_statuses",
    metadata,
    Column("instance", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
instance_values = Table(
    "instance_values",
    metadata,
    _number("instance"),
    _text("key"),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instance", "key", name="instance_values_by_key"),
)
removals = Table(
    "removals",
    metadata,
    Column("instance", BigInteger, primary_key=True, autoincrement=False),
    # The first execution that stays; NULL if nothing does.
    Column("before", Integer),
)

_PAYLOADS = (
    (messages, "data"),
    (activities, "data"),
    (executions, "output"),
    (executions, "history"),
    (events, "data"),
    (custom_statuses, "data"),
    (instance_values, "data"),
)
_CHURNING = (turns, messages, activities)

# The rows go when an execution ends, but those of large histories stay.
VACUUM_OF_EVENTS: Final = (
    "ALTER TABLE {schema}.events SET (autovacuum_vacuum_scale_factor = 0.01,"
    " autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0)"
)
STORAGE: Final = (
    # What is packed already is not packed again.
    *(
        f"ALTER TABLE {{schema}}.{table.name} ALTER COLUMN {column} SET STORAGE EXTERNAL"
        for table, column in _PAYLOADS
    ),
    # Room for the next version of a row in its page; and vacuum comes early, whatever the size.
    *(
        f"ALTER TABLE {{schema}}.{table.name} SET (fillfactor = {60 if table is turns else 80},"
        " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,"
        " autovacuum_vacuum_cost_delay = 0)"
        for table in _CHURNING
    ),
    VACUUM_OF_EVENTS,
)
"""How the tables are stored; `{schema}` stands for the quoted schema."""
