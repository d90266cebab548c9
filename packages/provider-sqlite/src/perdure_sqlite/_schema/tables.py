"""The schema: every table of a Perdure file, in its present version.

An instance has a number in the file, and other tables refer to it by that number, so that the text
of its id is stored once. Void messages and activities are deleted at once, so that queries for work
need not filter them out.

`bucket` and `ready_at` tell when a row can be leased; see `ready_index`. All names begin with
`perdure_`, so that a file can hold tables of the application too.

A deleted instance becomes invisible at once, and what belongs to it is removed in batches. Until
then its row stays, so that no other instance gets its number, in a namespace of its own: the
negative of the number.

Listings are ordered by `created_at` and number, newest first. Each of their indexes ends with these
two, so that any of them gives a page without sorting. SQLite adds the number to every index of a
table that has one.

Each index serves certain statements, and they name it: left to choose, SQLite breaks ties by the
order in which the indexes of a file were created.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

meta = Table(
    "perdure_meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

namespaces = Table(
    "perdure_namespaces",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # The newest arrival stamp: messages stay in order when a clock steps back.
    Column("stamp", Integer, nullable=False),
)

# A queue exists as long as one of its buckets holds a row, and some time longer.
turn_queues = Table(
    "perdure_turn_queues",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("namespace", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text),
    Column("engine", Integer, nullable=False),
)
turn_queues_by_key = Index(
    "perdure_turn_queues_by_key",
    turn_queues.c.namespace,
    turn_queues.c.name,
    turn_queues.c.version,
    turn_queues.c.engine,
)

activity_queues = Table(
    "perdure_activity_queues",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("namespace", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("tag", Text),
)
activity_queues_by_key = Index(
    "perdure_activity_queues_by_key",
    activity_queues.c.namespace,
    activity_queues.c.name,
    activity_queues.c.tag,
)

instances = Table(
    "perdure_instances",
    metadata,
    # In the order of creation, because only one transaction writes at a time.
    Column("number", Integer, primary_key=True),
    Column("namespace", Integer, nullable=False),
    Column("id", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text),
    Column("engine", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("execution", Integer, nullable=False),
    Column("started_at", Integer, nullable=False),
    Column("last_event", Integer, nullable=False),
    Column("last_commit", Text),
    Column("created_at", Integer, nullable=False),
    Column("updated_at", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lease_token", Text),
    # The end of the lease or, without a token, of a delay.
    Column("held_until", Integer),
    Column("released_at", Integer, nullable=False),
    # NULL if the mailbox is empty or the instance has ended.
    Column("bucket", Integer),
    Column("ready_at", Integer),
    Column("arrivals", Integer, nullable=False),
    Column("fronts", Integer, nullable=False),
    Column("parked_reason", Text),
    Column("parked_details", Text),
    Column("parked_since", Integer),
    Column("parent_instance", Text),
    Column("parent_incarnation", Text),
    Column("parent_execution", Integer),
    Column("parent_event", Integer),
    # The token of the lease that was last taken over.
    Column("taken_from", Text),
    # Earlier executions were deleted.
    Column("first_execution", Integer, nullable=False, server_default=text("1")),
    # The newest execution that ended as ContinuedAsNew; 0 if there was none.
    Column("last_continued", Integer, nullable=False, server_default=text("0")),
    # A JSON object; NULL if there are none.
    Column("labels", Text),
    Column("custom_status_version", Integer, nullable=False, server_default=text("0")),
    Column("value_count", Integer, nullable=False, server_default=text("0")),
    # Of the executions before this one that are still stored, to be counted without them.
    Column("earlier_events", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("namespace", "id"),
)
instances_by_bucket = Index(
    "perdure_instances_by_bucket",
    instances.c.bucket,
    instances.c.ready_at,
    sqlite_where=instances.c.bucket.is_not(None),
)
instances_by_token = Index(
    "perdure_instances_by_token",
    instances.c.lease_token,
    sqlite_where=instances.c.lease_token.is_not(None),
)
instances_by_status = Index(
    "perdure_instances_by_status",
    instances.c.namespace,
    instances.c.status,
    instances.c.created_at,
)
instances_by_name = Index(
    "perdure_instances_by_name", instances.c.namespace, instances.c.name, instances.c.created_at
)
instances_parked = Index(
    "perdure_instances_parked",
    instances.c.namespace,
    instances.c.parked_reason,
    instances.c.created_at,
    sqlite_where=instances.c.parked_reason.is_not(None),
)
instances_by_parent = Index(
    "perdure_instances_by_parent",
    instances.c.namespace,
    instances.c.parent_instance,
    instances.c.created_at,
    sqlite_where=instances.c.parent_instance.is_not(None),
)
# Instances with earlier executions, those apart of which one has ended as ContinuedAsNew.
instances_continued = Index(
    "perdure_instances_continued",
    instances.c.namespace,
    instances.c.last_continued >= instances.c.first_execution,
    instances.c.created_at,
    sqlite_where=instances.c.execution > instances.c.first_execution,
)

# Executions that have ended; the row of the instance holds the fields of the current one.
executions = Table(
    "perdure_executions",
    metadata,
    Column("instance", Integer, primary_key=True),
    Column("execution", Integer, primary_key=True),
    Column("status", Text, nullable=False),
    Column("event_count", Integer, nullable=False),
    Column("started_at", Integer, nullable=False),
    Column("completed_at", Integer, nullable=False),
    Column("output", LargeBinary),
    # All events, packed; NULL if they were too large for it and stay in the other table.
    Column("history", LargeBinary),
    sqlite_with_rowid=False,
)

# Of executions that run, and of those whose history is not packed.
events = Table(
    "perdure_events",
    metadata,
    Column("instance", Integer, primary_key=True),
    Column("execution", Integer, primary_key=True),
    Column("event", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# The newest custom status, apart from the instance's row, which every commit writes.
custom_statuses = Table(
    "perdure_custom_statuses",
    metadata,
    Column("instance", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

instance_values = Table(
    "perdure_values",
    metadata,
    Column("instance", Integer, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# The labels of the instances again, to find the instances by them.
labels = Table(
    "perdure_labels",
    metadata,
    Column("namespace", Integer, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("created_at", Integer, primary_key=True),
    Column("instance", Integer, primary_key=True),
    sqlite_with_rowid=False,
)

# Instances of which something is still to be removed: all of a deleted one, else the executions
# before the first.
removals = Table(
    "perdure_removals",
    metadata,
    Column("instance", Integer, primary_key=True),
)

# In the order of delivery: `place` separates the start message, the front and all others.
messages = Table(
    "perdure_messages",
    metadata,
    Column("instance", Integer, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("due", Integer, primary_key=True),
    Column("arrival", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # Whether the message names an incarnation, which is then the instance's.
    Column("addressed", Integer, nullable=False),
    Column("execution", Integer),
    Column("visible_at", Integer),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("instance", "id"),
    sqlite_with_rowid=False,
)

# External events for instances that do not exist yet.
early_events = Table(
    "perdure_early_events",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("namespace", Integer, nullable=False),
    Column("instance", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("due", Integer, nullable=False),
    Column("incarnation", Text),
    Column("execution", Integer),
    Column("visible_at", Integer),
    Column("data", LargeBinary, nullable=False),
    Column("arrived_at", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("namespace", "instance", "id"),
)
early_events_by_arrival = Index(
    "perdure_early_events_by_arrival", early_events.c.namespace, early_events.c.arrived_at
)

activities = Table(
    "perdure_activities",
    metadata,
    Column("instance", Integer, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("queue", Integer, nullable=False),
    Column("visible_at", Integer),
    Column("added_at", Integer, nullable=False),
    # Orders activities that one instance added at the same instant.
    Column("place", Integer, nullable=False),
    Column("delivery", Integer, nullable=False),
    Column("lease_token", Text),
    Column("held_until", Integer),
    Column("released_at", Integer, nullable=False),
    Column("bucket", Integer, nullable=False),
    Column("ready_at", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("taken_from", Text),
    sqlite_with_rowid=False,
)
activities_by_bucket = Index(
    "perdure_activities_by_bucket", activities.c.bucket, activities.c.ready_at, activities.c.place
)
activities_by_token = Index(
    "perdure_activities_by_token",
    activities.c.lease_token,
    sqlite_where=activities.c.lease_token.is_not(None),
)

TABLES: tuple[Table, ...] = tuple(metadata.tables.values())
"""In the order of their creation."""
INDEXES: tuple[Index, ...] = tuple(
    index for table in TABLES for index in sorted(table.indexes, key=lambda each: str(each.name))
)
"""In the order of their creation; sorted by name, because a table's indexes are a set."""
