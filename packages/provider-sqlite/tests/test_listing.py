"""Listings: which index answers a query, how much a page looks at, and instances that change meanwhile."""

import asyncio
import itertools
import random
import re
import sqlite3
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceQuery,
    InstanceState,
    InstanceStatus,
    NewActivity,
    ParentLink,
    ParkedMark,
    ProviderAdmin,
    TurnLease,
    TurnRelease,
)
from perdure.errors import InvalidInput, StorageCorrupt
from perdure_sqlite import SQLiteProvider
from perdure_sqlite._reads import searches
from perdure_sqlite._reads.searches import LOOKS_PER_PAGE
from perdure_sqlite._sql.instances import READ_LISTED
from perdure_sqlite._testing.failing_statements import database_error

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
FAILED = ExecutionEnd(status=InstanceStatus.FAILED, output=b"broken")
PARENT = ParentLink(instance="parent", incarnation="one", execution=1, event=2)
MINUTE = timedelta(minutes=1)


async def pages(
    admin: ProviderAdmin, query: InstanceQuery | None = None, *, limit: int = 10
) -> list[tuple[InstanceState, ...]]:
    found: list[tuple[InstanceState, ...]] = []
    token: str | None = None
    while True:
        page = await admin.find_instances(query or InstanceQuery(), limit=limit, token=token)
        assert len(page.instances) <= limit
        found.append(page.instances)
        token = page.next_token
        if token is None:
            return found


async def ids(admin: ProviderAdmin, limit: int = 10, **conditions: Any) -> list[str]:
    found = await pages(admin, InstanceQuery(**conditions), limit=limit)
    return [state.instance for page in found for state in page]


async def finish(make, provider: SQLiteProvider, instance: str, end: ExecutionEnd, **fields: Any):
    turns = await provider.lease_turns(make.request(limit=1000))
    for turn in turns:
        if turn.state.instance == instance:
            await provider.commit_turn(make.commit(turn, end=end, **fields))
        else:
            await provider.release_turn(
                TurnRelease(lease=TurnLease(instance=turn.state.instance, token=turn.token))
            )


async def park(make, provider: SQLiteProvider, instance: str, reason: str) -> None:
    turns = await provider.lease_turns(make.request(limit=1000))
    for turn in turns:
        mark = ParkedMark(reason=reason, details="") if turn.state.instance == instance else None
        lease = TurnLease(instance=turn.state.instance, token=turn.token)
        await provider.release_turn(TurnRelease(lease=lease, parked=mark))


@pytest.fixture
async def crowd(desk, make) -> SQLiteProvider:
    """Twelve instances that differ in everything that a query can ask for."""
    provider = await desk.open(durability="normal")
    for number in range(12):
        new = make.new(
            f"{'order' if number % 2 else 'job'}-{number}",
            name="process" if number % 3 else "ship",
            parent=PARENT if number % 4 == 0 else None,
        )
        labels = {"tenant": f"t{number % 3}", "plan": "gold" if number % 2 else "free"}
        await provider.create_instance(replace(new, labels=labels))
        desk.clock.advance(MINUTE)
    await finish(make, provider, "order-1", COMPLETED)
    await finish(make, provider, "order-5", FAILED)
    await finish(make, provider, "job-4", FAILED, custom_status=b"half")
    await park(make, provider, "order-7", "unregistered")
    await park(make, provider, "job-8", "undecodable")
    return provider


CONDITIONS: dict[str, list[Any]] = {
    "statuses": [frozenset({InstanceStatus.RUNNING}), frozenset({COMPLETED.status, FAILED.status})],
    "orchestrations": [frozenset({"process"}), frozenset({"ship", "process", "none"})],
    "parked": [True, False],
    "parked_reasons": [frozenset({"unregistered", "none"})],
    "id_prefix": ["order-", "job-1"],
    "created_from": [timedelta(minutes=4)],
    "created_before": [timedelta(minutes=8)],
    "updated_from": [timedelta(minutes=6)],
    "updated_before": [timedelta(minutes=12)],
    "parent": ["parent", "none"],
    "roots_only": [True],
    "labels": [{"tenant": "t1"}, {"tenant": "t0", "plan": "gold"}, {"plan": "none"}],
}


def meets(query: InstanceQuery, state: InstanceState) -> bool:
    """What the contract says, in its own order."""
    reason = None if state.parked is None else state.parked.reason
    parent = None if state.parent is None else state.parent.instance
    return all(
        (
            not query.statuses or state.status in query.statuses,
            not query.orchestrations or state.name in query.orchestrations,
            query.parked is None or query.parked is (reason is not None),
            not query.parked_reasons or reason in query.parked_reasons,
            state.instance.startswith(query.id_prefix),
            query.created_from is None or query.created_from <= state.created_at,
            query.created_before is None or state.created_at < query.created_before,
            query.updated_from is None or query.updated_from <= state.updated_at,
            query.updated_before is None or state.updated_at < query.updated_before,
            query.parent is None or parent == query.parent,
            not query.roots_only or parent is None,
            all(state.labels.get(key) == value for key, value in query.labels.items()),
        )
    )


async def test_every_condition_and_all_pairs_of_them_find_what_meets_them(crowd):
    admin = crowd.as_management_capability()
    names = (await admin.list_instances(limit=100)).ids
    states = [await crowd.read_instance(name) for name in names]
    begin = min(state.created_at for state in states)

    single = [(name, value) for name, values in CONDITIONS.items() for value in values]
    combinations = [[each] for each in single] + [
        [one, other] for one, other in itertools.combinations(single, 2) if one[0] != other[0]
    ]
    triples = [list(each) for each in itertools.combinations(single, 3)]
    combinations += random.Random(1).sample(triples, 60)
    for chosen in combinations:
        conditions = {
            name: begin + value // timedelta(microseconds=1)
            if isinstance(value, timedelta)
            else value
            for name, value in chosen
        }
        query = InstanceQuery(**conditions)
        found = [state for page in await pages(admin, query, limit=2) for state in page]
        assert found == [state for state in states if meets(query, state)], conditions


async def test_whole_states_are_found_newest_first(crowd):
    admin = crowd.as_management_capability()

    (page,) = await pages(admin, limit=50)

    assert [state.instance for state in page] == list((await admin.list_instances(limit=50)).ids)
    assert [state.instance for state in page][:2] == ["order-11", "job-10"]
    assert page == tuple([await crowd.read_instance(state.instance) for state in page])


@pytest.mark.parametrize("limit", [1, 3, 12, 13])
async def test_instances_of_one_instant_are_on_one_page_each(desk, make, limit):
    provider = await desk.open()
    for number in range(12):
        await provider.create_instance(make.new(f"{number}"))

    found = await ids(provider.as_management_capability(), limit=limit)

    assert found == [f"{number}" for number in reversed(range(12))]


async def test_a_clock_that_steps_back_changes_the_order_and_loses_nothing(desk, make):
    provider = await desk.open()
    for number in range(6):
        await provider.create_instance(make.new(f"{number}"))
        desk.clock.step_back(3 * MINUTE) if number % 2 else desk.clock.advance(MINUTE)
    admin = provider.as_management_capability()

    found = await ids(admin, limit=2)

    assert sorted(found) == [f"{number}" for number in range(6)]
    assert found == list((await admin.list_instances(limit=10)).ids)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({"labels": {"plan": "rare"}, "statuses": frozenset({InstanceStatus.RUNNING})}, "label0"),
        ({"labels": {"plan": "common"}, "statuses": frozenset({FAILED.status})}, "status"),
        ({"labels": {"plan": "common", "tenant": "one"}}, "label1"),
        ({"orchestrations": frozenset({"process"}), "parked": True}, "parked"),
        ({"orchestrations": frozenset({"rare"}), "parked": True}, "name"),
        ({"parent": "parent", "labels": {"plan": "common"}}, "parent"),
        ({"id_prefix": "x"}, "all"),
    ],
)
async def test_the_condition_that_fewest_instances_meet_is_answered_by_its_index(
    desk, make, query, index
):
    provider = await desk.open(durability="normal")
    common = (replace(make.new(f"{number}"), labels={"plan": "common"}) for number in range(150))
    await asyncio.gather(*map(provider.create_instance, common))
    odd = [
        replace(make.new("rare-label"), labels={"plan": "rare", "tenant": "one"}),
        replace(make.new("both"), labels={"plan": "common", "tenant": "one"}),
        make.new("rare-name", name="rare"),
        replace(make.new("child", parent=PARENT), labels={"plan": "common"}),
        *(make.new(f"parked-{number}") for number in range(3)),
    ]
    for new in odd:
        await provider.create_instance(new)
    desk.raw().execute(
        "UPDATE perdure_instances SET parked_reason = 'r', parked_details = '', parked_since = 1"
        " WHERE id LIKE 'parked-%'"
    )
    search = searches.Search(InstanceQuery(**query), shown=lambda state: state, trusts_marks=True)

    search.look(provider.opened.reader, wanted=1, looks=1, room=0, needs_one=True)

    assert search.token.startswith(f"{index}_")


@pytest.mark.slow
async def test_a_page_looks_at_a_bounded_number_of_instances_and_leads_on(desk, make):
    provider = await desk.open(durability="normal")
    raw = desk.raw()
    await provider.create_instance(make.new("oldest"))
    raw.execute("PRAGMA busy_timeout=5000")
    raw.execute(
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 3500)"
        " INSERT INTO perdure_instances (number, namespace, id, incarnation, name, engine, status,"
        " execution, started_at, last_event, created_at, updated_at, attempt, released_at,"
        " arrivals, fronts) SELECT i, 1, 'other-' || i, 'one', 'process', 1, 'Running',"
        " 1, 0, 0, created_at, 0, 0, 0, 0, 0 FROM n, perdure_instances WHERE number = 1"
    )
    admin = provider.as_management_capability()

    found = await pages(admin, InstanceQuery(id_prefix="old"))

    assert [len(page) for page in found] == [0, 0, 0, 1]
    assert 3500 // LOOKS_PER_PAGE == 3
    # Whatever is stored, a page takes the same steps of the database.
    steps = []
    driver = provider.opened.database.reader
    for token in (None, (await admin.find_instances(InstanceQuery(), limit=1500)).next_token):
        counted = itertools.count()
        driver.set_progress_handler(lambda counted=counted: next(counted) and 0, 100)
        await admin.find_instances(InstanceQuery(), limit=20, token=token)
        driver.set_progress_handler(None, 0)
        steps.append(next(counted))
    assert max(steps) < 100


async def test_an_instance_that_ends_between_two_pages_is_on_exactly_one(crowd, make):
    admin = crowd.as_management_capability()
    query = InstanceQuery(statuses=frozenset(InstanceStatus))
    found: list[str] = []
    token: str | None = None
    to_end = iter(["order-11", "job-0", "order-3", "job-2"])
    while True:
        page = await admin.find_instances(query, limit=2, token=token)
        found += [state.instance for state in page.instances]
        token = page.next_token
        if token is None:
            break
        await finish(make, crowd, next(to_end, ""), COMPLETED)

    assert len(found) == len(set(found)) == 12


async def test_what_is_created_and_deleted_meanwhile_moves_nothing_else(crowd, make):
    admin = crowd.as_management_capability()
    first = await admin.find_instances(InstanceQuery(), limit=4)
    await crowd.create_instance(make.new("new"))
    await crowd.delete_instance("order-1", incarnation="one")
    await crowd.delete_instance("order-5", incarnation="one")

    rest: list[str] = []
    token = first.next_token
    while token is not None:
        page = await admin.find_instances(InstanceQuery(), limit=4, token=token)
        rest += [state.instance for state in page.instances]
        token = page.next_token

    assert rest == ["order-7", "job-6", "job-4", "order-3", "job-2", "job-0"]


async def test_a_token_belongs_to_its_query(crowd):
    admin = crowd.as_management_capability()
    page = await admin.find_instances(InstanceQuery(id_prefix="o"), limit=1)

    for token in ("", "x", "all_1_1", page.next_token + "0", "status" + page.next_token[3:]):
        with pytest.raises(InvalidInput):
            await admin.find_instances(InstanceQuery(id_prefix="o"), limit=1, token=token)
    with pytest.raises(InvalidInput, match="of another query"):
        await admin.find_instances(InstanceQuery(id_prefix="or"), limit=1, token=page.next_token)
    assert re.fullmatch(r"all_[0-9]+_[0-9]+_[0-9a-f]{16}", page.next_token)


async def test_a_page_holds_outputs_up_to_its_size_and_at_least_one(desk, make, monkeypatch):
    monkeypatch.setattr("perdure_sqlite._admin.MAX_BYTES_PER_DELIVERY", 1000)
    monkeypatch.setattr("perdure_sqlite._admin.LOOKS_PER_STEP", 2)
    provider = await desk.open()
    for number, size in enumerate((400, 2000, 2000, 600, 400, 1)):
        turn = await desk.leased(provider, f"{number}")
        end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=bytes(size - 1))
        await provider.commit_turn(make.commit(turn, end=end, custom_status=b"1"))

    found = await pages(provider.as_management_capability(), limit=10)

    assert [[state.instance for state in page] for page in found] == [
        ["5", "4"],
        ["3"],
        ["2"],
        ["1"],
        ["0"],
    ]


async def test_labels_of_a_deleted_instance_find_nothing(crowd, desk):
    admin = crowd.as_management_capability()
    assert "order-1" in await ids(admin, labels={"tenant": "t1"})

    await crowd.delete_instance("order-1", incarnation="one")

    assert "order-1" not in await ids(admin, labels={"tenant": "t1"})
    assert desk.raw().execute("SELECT count(*) FROM perdure_labels").fetchone() == (22,)


async def test_any_characters_are_labels(desk, make):
    provider = await desk.open()
    labels = {"": "", "a\0b": 'quote"', "é": "e\u0301", "%": "_", "k" * 256: "v" * 256}
    await provider.create_instance(replace(make.new("a"), labels=labels))
    await provider.create_instance(replace(make.new("b"), labels={"e\u0301": "é"}))
    admin = provider.as_management_capability()

    assert (await provider.read_instance("a")).labels == labels
    for key, value in labels.items():
        assert await ids(admin, labels={key: value}) == ["a"]
    assert await ids(admin, labels=labels) == ["a"]
    assert await ids(admin, labels={"a": "quote"}) == []


async def test_a_damaged_instance_is_named_and_not_left_out(crowd, desk):
    desk.raw().execute("UPDATE perdure_instances SET status = 'Spoiled' WHERE id = 'job-6'")
    admin = crowd.as_management_capability()

    with pytest.raises(StorageCorrupt, match="job-6"):
        await admin.find_instances(InstanceQuery(), limit=20)
    found = await ids(admin, statuses=frozenset({InstanceStatus.FAILED}))
    assert found == ["order-5", "job-4"]


async def test_all_running_instances_are_found_as_parked_while_damage_hides_work(crowd):
    admin = crowd.as_management_capability()
    with pytest.raises(StorageCorrupt), crowd.opened.notifications.damage.watching("lease_turns"):
        raise StorageCorrupt("the index is damaged", operation="lease_turns")

    found = await ids(admin, parked=True)
    stored = await ids(admin, parked_reasons=frozenset({"unregistered"}))

    assert len(found) == 9
    assert stored == ["order-7"]


async def test_a_token_leads_on_when_damage_is_found_meanwhile(crowd):
    admin = crowd.as_management_capability()
    query = InstanceQuery(parked=True)
    first = await admin.find_instances(query, limit=1)
    with pytest.raises(StorageCorrupt), crowd.opened.notifications.damage.watching("lease_turns"):
        raise StorageCorrupt("the index is damaged", operation="lease_turns")

    rest = await admin.find_instances(query, limit=9, token=first.next_token)

    found = [state.instance for state in (*first.instances, *rest.instances)]
    assert found == ["job-8", "order-7"]


async def test_a_step_that_finds_the_file_locked_is_repeated_and_loses_nothing(crowd, monkeypatch):
    admin = crowd.as_management_capability()
    reader = crowd.opened.reader
    execute = reader.execute
    reads = itertools.count()

    def locked_once(statement: str, *parameters: Any) -> Any:
        if statement == READ_LISTED and next(reads) == 5:
            raise database_error(sqlite3.SQLITE_BUSY)
        return execute(statement, *parameters)

    monkeypatch.setattr(reader, "execute", locked_once)

    assert len(await ids(admin, limit=20)) == 12


async def test_the_work_of_an_instance_is_read_with_its_leases_and_delays(desk, make):
    provider = await desk.open()
    admin = provider.as_management_capability()
    now = desk.clock.now()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(
        make.commit(
            turn,
            remove=("start",),
            add=(
                NewActivity(id="free", name="work", data=b"1", tag="gpu"),
                NewActivity(id="held", name="work", data=b"22", lease=True),
                NewActivity(id="later", name="work", data=b"", visible_at=now + 10**9),
            ),
        )
    )
    await provider.send([make.event("a", id="due", visible_at=now + 5, data=b"xx")])
    await provider.send([make.event("a", id="now", data=b"xxx")])

    (leased,) = await provider.lease_turns(make.request())
    work = await admin.read_work("a")

    assert (work.attempt, work.leased_until, work.delayed_until) == (1, leased.until, None)
    assert [(each.id, each.size, each.visible_at) for each in work.messages] == [
        ("now", 3, None),
        ("due", 2, now + 5),
    ]
    by_id = {each.id: each for each in work.activities}
    assert (by_id["free"].tag, by_id["free"].delivery, by_id["free"].leased_until) == (
        "gpu",
        0,
        None,
    )
    assert (by_id["held"].delivery, by_id["held"].data) == (1, b"22")
    assert by_id["held"].leased_until is not None
    assert by_id["later"].visible_at == now + 10**9
    assert not work.more
    lease = TurnLease(instance="a", token=leased.token)
    await provider.release_turn(TurnRelease(lease=lease, delay=MINUTE))
    work = await admin.read_work("a")
    assert (work.leased_until, work.delayed_until) == (None, now + 60 * 10**6)
    assert await admin.read_work("b") is None


async def test_no_more_than_a_thousand_of_each_are_read(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    work = tuple(NewActivity(id=f"{n}", name="work", data=b"") for n in range(1001))
    await provider.commit_turn(make.commit(turn, add=work))
    await provider.send([make.event("a", id=f"{n}") for n in range(1100)])

    found = await provider.as_management_capability().read_work("a")

    assert (len(found.activities), len(found.messages), found.more) == (1000, 1000, True)
