"""Every statement finds its rows by the index made for it, in whatever order a file got its indexes.

SQLite breaks ties between indexes by the order of their creation, and files of 0.1.0 have got
theirs in any order. A plan is what SQLite says it is with parameters bound.
"""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest
from perdure.contract import InstanceQuery, InstanceReopening, InstanceTermination
from perdure_sqlite._schema.counts import counts
from perdure_sqlite._schema.tables import INDEXES, TABLES
from perdure_sqlite._sql import (
    activities,
    deletions,
    instances,
    listings,
    mailboxes,
    management,
    values,
    work,
)
from perdure_sqlite._sql.listings import RangeStatements
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

MODULES = (instances, activities, deletions, listings, mailboxes, management, values, work)
RANGES = {name: each for name, each in vars(listings).items() if isinstance(each, RangeStatements)}
STATEMENTS = {
    name: text
    for module in MODULES
    for name, text in vars(module).items()
    if isinstance(text, str) and re.match(r"(SELECT|UPDATE|DELETE|INSERT) ", text)
} | {
    f"{name}.{part}": getattr(statements, part)
    for name, statements in RANGES.items()
    for part in ("read", "rest", "count")
}

GOES_THROUGH_ALL = {
    # What it counts; in a thread of its own.
    "COUNT_ACTIVITIES": "SCAN perdure_activities",
    # The first row of what is left, and no other.
    "NEXT_REMOVAL": "SCAN perdure_removals",
}
SORTS = {
    # What one token holds, and what waits for one id.
    "LEASED_ACTIVITIES",
    "READ_EARLY_EVENTS",
}
USES = {
    "FIND_TURN_QUEUE": "perdure_turn_queues_by_key",
    "TURN_HEADS": "perdure_turn_queues_by_key",
    "TURN_HEADS_OF": "perdure_turn_queues_by_key",
    "FIND_ACTIVITY_QUEUE": "perdure_activity_queues_by_key",
    "ACTIVITY_HEADS": "perdure_activity_queues_by_key",
    "ACTIVITY_HEADS_OF": "perdure_activity_queues_by_key",
    "LEASED_TURNS": "perdure_instances_by_token",
    "TURNS_IN_BUCKET": "perdure_instances_by_bucket",
    "LEASED_ACTIVITIES": "perdure_activities_by_token",
    "LEASED_ACTIVITY_QUEUES": "perdure_activities_by_token",
    "ACTIVITIES_IN_BUCKET": "perdure_activities_by_bucket",
    "NEXT_STATUS": "perdure_instances_by_status",
    "NEXT_PARKED_REASON": "perdure_instances_parked",
    "EARLY_EVENT_SIZES": "perdure_early_events_by_arrival",
    "INSTANCES_OF_NAMESPACE": "perdure_instances_by_status",
    "FIND_WORK": "sqlite_autoindex_perdure_instances_1",
    "FIND_WITH_VALUES": "sqlite_autoindex_perdure_instances_1",
    "COUNT_INSTANCES": "perdure_instances_by_status",
    "COUNT_MESSAGES": "perdure_instances_by_status",
    "FIND_INSTANCE": "sqlite_autoindex_perdure_instances_1",
    "READ_INSTANCE": "sqlite_autoindex_perdure_instances_1",
    "READ_CHANGE_MARKS": "sqlite_autoindex_perdure_instances_1",
    "FIND_EXECUTIONS": "sqlite_autoindex_perdure_instances_1",
    "RENEW_TURN": "sqlite_autoindex_perdure_instances_1",
}
BY_NUMBER = {
    name
    for name, text in STATEMENTS.items()
    if text.endswith(".number = ?") and not text.startswith("INSERT")
}


def compiled(statement: object) -> str:
    return str(statement.compile(dialect=sqlite.dialect()))


def database(order: tuple[int, ...]) -> sqlite3.Connection:
    """Tables whose indexes were made in this order."""
    connection = sqlite3.connect(":memory:")
    for table in (*TABLES, counts):
        connection.execute(compiled(CreateTable(table)))
    for place in order:
        connection.execute(compiled(CreateIndex(INDEXES[place])))
    return connection


def plan_of(connection: sqlite3.Connection, text: str) -> list[str]:
    bound = [1] * text.count("?")
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", bound)]
    # How many a subquery gives that finds them by an index of its own; the parts of a union.
    apart = r"(CO-ROUTINE|SCAN) anon_1|COMPOUND QUERY|LEFT-MOST SUBQUERY|UNION ALL"
    return [step for step in steps if not re.fullmatch(apart, step)]


def orders() -> Iterator[tuple[int, ...]]:
    """Orders of the indexes of instances, with those of the other tables turned round each time."""
    of_instances = [n for n, index in enumerate(INDEXES) if index.table.name == "perdure_instances"]
    others = [n for n in range(len(INDEXES)) if n not in of_instances]
    # Each index comes before and behind each other one, and at each place.
    turns = [[*of_instances[n:], *of_instances[:n]] for n in range(len(of_instances))]
    orders = [*turns, *(order[::-1] for order in turns)]
    for number, order in enumerate(orders):
        yield (*others[:: (-1) ** number], *order) if number % 3 else (*order, *others)


@pytest.fixture(scope="module")
def plans() -> dict[str, set[tuple[str, ...]]]:
    """Of every statement, its plans in all these files."""
    found: dict[str, set[tuple[str, ...]]] = {name: set() for name in STATEMENTS}
    for order in orders():
        connection = database(order)
        for name, text in STATEMENTS.items():
            found[name].add(tuple(plan_of(connection, text)))
        connection.close()
    return found


def test_all_statements_are_looked_at():
    assert len(STATEMENTS) > 50
    assert {*GOES_THROUGH_ALL, *SORTS, *USES} <= STATEMENTS.keys()


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_order_of_the_indexes_changes_no_plan(plans, name):
    assert len(plans[name]) == 1


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_goes_through_a_table_or_sorts_unless_it_is_meant_to(plans, name):
    steps = [step for plan in plans[name] for step in plan]

    assert [step for step in steps if step.startswith("SCAN")] == (
        [GOES_THROUGH_ALL[name]] if name in GOES_THROUGH_ALL else []
    )
    assert any("TEMP B-TREE" in step for step in steps) == (name in SORTS)


@pytest.mark.parametrize("name", USES)
def test_a_statement_finds_its_rows_by_the_index_made_for_it(plans, name):
    ((first, *_),) = plans[name]

    if name == "COUNT_INSTANCES":  # the running ones, after the counts of those that have ended
        ((counted, first),) = plans[name]
        assert counted.startswith("SEARCH perdure_counts USING PRIMARY KEY")
    assert first.startswith("SEARCH")
    assert f"INDEX {USES[name]} (" in first


@pytest.mark.parametrize(
    ("name", "index", "columns"),
    [
        ("BY_STATUS", "perdure_instances_by_status", "namespace=? AND status=?"),
        ("BY_NAME", "perdure_instances_by_name", "namespace=? AND name=?"),
        ("BY_PARKED_REASON", "perdure_instances_parked", "namespace=? AND parked_reason=?"),
        ("BY_PARENT", "perdure_instances_by_parent", "namespace=? AND parent_instance=?"),
        ("BY_LABEL", "PRIMARY KEY", "namespace=? AND key=? AND value=?"),
        ("CONTINUED", "perdure_instances_continued", "namespace=? AND <expr>=?"),
    ],
)
def test_a_page_begins_at_its_place_in_the_index_and_ends_at_the_earliest_creation(
    plans, name, index, columns
):
    ((read, *_),) = plans[f"{name}.read"]
    ((rest, *_),) = plans[f"{name}.rest"]
    ((count, *_),) = plans[f"{name}.count"]

    for step in (read, count):
        assert re.search(rf"^SEARCH .*{index} \({re.escape(columns)} AND created_at>", step)
        assert step.endswith("created_at<?)")
    assert re.search(rf"^SEARCH .*{index} \({re.escape(columns)} AND created_at=\? AND", rest)
    assert re.search(r"(rowid|instance)<\?\)$", rest)


@pytest.mark.parametrize("name", sorted(BY_NUMBER))
def test_a_row_of_known_number_is_found_by_it(plans, name):
    ((first, *_),) = plans[name]

    assert "USING INTEGER PRIMARY KEY (rowid=?)" in first


def test_the_ends_of_buckets_are_single_steps_of_the_index(plans):
    for name in ("TURN_HEADS", "ACTIVITY_HEADS", "TURN_HEADS_OF", "ACTIVITY_HEADS_OF"):
        ((_, *rest),) = plans[name]
        assert len([step for step in rest if "_by_bucket (bucket=?)" in step]) == 4


async def test_every_statement_that_a_provider_runs_is_one_of_these(desk, make):
    provider = await desk.open()
    admin = provider.as_management_capability()
    shown: set[str] = set()
    for connection in (provider.opened.database.writer, provider.opened.database.reader):
        connection.set_trace_callback(lambda text: shown.add(re.sub(r"\s+", " ", text)))

    new = replace(make.new("a"), labels={"tenant": "acme"})
    await provider.create_instance(new)
    (turn,) = await provider.lease_turns(make.request())
    await provider.commit_turn(
        make.commit(turn, events=(b"1",), custom_status=b"half", values={"a": b"1", "b": None})
    )
    await desk.activities(provider)
    await provider.terminate_instance(
        InstanceTermination(id="1", instance="a", incarnation="one", events=(b"2",), output=b"3")
    )
    again = replace(new.start, id="again", execution=2)
    await provider.reopen_instance(
        InstanceReopening(id="2", instance="a", incarnation="one", execution=1, start=again)
    )
    await provider.prune_executions("a", incarnation="one", before=2)
    await provider.read_values("a")
    await admin.read_work("a")
    for query in (InstanceQuery(), InstanceQuery(parked=True, labels={"tenant": "acme"})):
        await admin.find_instances(query, limit=10)
    await provider.terminate_instance(
        InstanceTermination(id="3", instance="a", incarnation="one", events=(b"1",), output=b"3")
    )
    await provider.delete_instance("a", incarnation="one")
    await provider.delete_early_events("a", limit=10)
    await provider.delete_namespace()

    known = {re.sub(r"\s+", " ", text).split("?")[0] for text in STATEMENTS.values()}
    unknown = {
        text
        for text in shown
        if not any(text.startswith(begin) for begin in known)
        and not re.match(r"(BEGIN|COMMIT|ROLLBACK|PRAGMA)", text)
    }
    assert unknown == set()
