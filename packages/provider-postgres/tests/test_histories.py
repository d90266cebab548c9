"""Histories: a row for the events of a commit, one value after the end, and what earlier versions stored."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from perdure.contract import (
    MAX_PACKED_EVENTS,
    InstanceReopening,
    Message,
    MessageKind,
    ProviderUrl,
    Serves,
    TurnCommit,
    TurnRequest,
    pack_history,
)
from perdure.errors import StorageCorrupt
from perdure.providers.loader import open_provider
from perdure_conformance.samples import AGAIN, COMPLETED, commit_of, new_instance
from perdure_postgres import PostgresOptions
from perdure_postgres._histories import RunningHistories, events_of, joined, segments_of
from perdure_postgres._opening import make_schema

LEASE = timedelta(seconds=30)
EVENTS = (b'{"kind":"a"}', b"", b'{"kind":"a","at":1}')
VERSION_1 = Path(__file__).with_name("fixtures") / "version_1.sql"


async def leased(provider, token="one"):  # noqa: S107 # no secret
    serves = Serves(orchestrations={"flow": frozenset()})
    request = TurnRequest(token=token, limit=1, lease_for=LEASE, serves=serves)
    [turn] = await provider.lease_turns(request)
    return turn


async def begun(provider, *commits):
    """An instance `a` with a commit for each of these tuples of events; the turn after them."""
    await provider.create_instance(new_instance("a"))
    turn = await leased(provider)
    for events in commits:
        await provider.commit_turn(commit_of(turn, events=events, keep_for=LEASE))
        turn = after(turn, len(events))
    return turn


def after(turn, count):
    state = replace(turn.state, last_event=turn.state.last_event + count)
    return replace(turn, state=state, messages=())


async def read(provider, execution=1, after=0, instance="a"):
    page = await provider.read_history(
        instance, execution, incarnation=f"{instance}@1", after=after
    )
    assert not page.more
    return [(event.number, event.data) for event in page.events]


@pytest.fixture
def rows(connect, url):
    """The rows of events and the packed histories, by execution, of instances `a` of this namespace."""
    namespace = url.rpartition("namespace=")[2]

    def look(statement):
        with connect(url) as connection:
            return connection.execute(
                f"SELECT {statement} JOIN perdure.instances AS i ON i.number = instance"
                " JOIN perdure.namespaces AS n ON n.number = i.namespace AND n.name = %s"
                " ORDER BY 1, 2",
                (namespace,),
            ).fetchall()

    def both():
        return (
            look("x.execution, x.number, x.count FROM perdure.events AS x"),
            [
                execution
                for execution, history in look(
                    "x.execution, x.history FROM perdure.executions AS x"
                )
                if history is not None
            ],
        )

    return both


def test_events_of_any_size_come_back_from_their_rows():
    for events in ((b"x",), EVENTS, (b"",) * 2000, (b"x", bytes(5000), b"y"), ()):
        found = [
            each
            for segment in segments_of(events)
            for each in events_of(segment.last, segment.count, segment.data)
        ]

        assert [each.data for each in found] == list(events)
        assert [each.number for each in found] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("damaged", [b"", joined(EVENTS)[:-1], joined(EVENTS) + b"x"])
def test_a_row_that_is_not_as_long_as_its_events_is_refused(damaged):
    with pytest.raises(ValueError, match="events"):
        events_of(3, 3, damaged)


@pytest.mark.slow
async def test_the_commit_that_ends_an_execution_packs_its_history(url, clock, rows):
    async with open_provider(url, clock=clock) as provider:
        turn = await begun(provider, EVENTS[:2], EVENTS[2:])
        assert rows() == ([(1, 2, 2), (1, 3, 1)], [])
        assert await read(provider, after=1) == [(2, EVENTS[1]), (3, EVENTS[2])]

        await provider.commit_turn(commit_of(turn, events=(b"end",), end=COMPLETED))

        assert rows() == ([], [1])
        numbered = list(enumerate((*EVENTS, b"end"), 1))
        admin = provider.as_management_capability()
        for event in range(5):
            assert await read(provider, after=event) == numbered[event:]
        page = await admin.read_events("a", 1, after=2)
        assert [(event.number, event.data) for event in page.events] == numbered[2:]


@pytest.mark.slow
async def test_each_execution_is_packed_as_it_ends_and_reopening_leaves_it(url, clock, rows):
    async with open_provider(url, clock=clock) as provider:
        turn = await begun(provider, EVENTS[:1])
        await provider.commit_turn(commit_of(turn, events=EVENTS[1:], end=AGAIN, keep_for=LEASE))
        state = replace(turn.state, execution=2, last_event=0)
        turn = replace(turn, state=state)
        await provider.commit_turn(commit_of(turn, events=(b"second",), end=COMPLETED))
        start = Message(
            id="again",
            instance="a",
            kind=MessageKind.START,
            data=b"",
            incarnation="a@1",
            execution=3,
        )
        await provider.reopen_instance(
            InstanceReopening(id="r", instance="a", incarnation="a@1", execution=2, start=start)
        )
        await provider.commit_turn(commit_of(await leased(provider, "two"), events=(b"third",)))

        assert rows() == ([(3, 1, 1)], [1, 2])
        assert await read(provider, 1) == list(enumerate(EVENTS, 1))
        assert await read(provider, 2) == [(1, b"second")]
        assert await read(provider, 3) == [(1, b"third")]


@pytest.mark.slow
@pytest.mark.parametrize("reads", [False, True])
async def test_a_process_packs_what_another_has_written_if_it_has_read_it(url, clock, rows, reads):
    async with open_provider(url, clock=clock) as one, open_provider(url, clock=clock) as other:
        turn = await begun(one, EVENTS)
        if reads:
            await read(other)
        await other.commit_turn(commit_of(turn, events=(b"end",), end=COMPLETED))

        assert rows() == (([], [1]) if reads else ([(1, 3, 3), (1, 4, 1)], []))
        assert await read(one) == list(enumerate((*EVENTS, b"end"), 1))


@pytest.mark.slow
async def test_a_history_that_is_too_large_stays_in_rows_and_is_read_in_pages(url, clock, rows):
    many = tuple(b"%d" % number for number in range(1700))
    async with open_provider(url, clock=clock) as provider:
        turn = await begun(provider, many)
        await provider.commit_turn(commit_of(turn, events=(b"end",), end=COMPLETED))
        found, page = [], None
        while page is None or page.more:
            page = await provider.read_history("a", 1, incarnation="a@1", after=len(found))
            found += [event.data for event in page.events]

    assert len(many) > MAX_PACKED_EVENTS
    assert found == [*many, b"end"]
    assert rows()[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["'\\x00'", "substr(history, 2)", "history || '\\x00'"])
async def test_a_damaged_packed_history_is_told_with_the_instance_and_the_execution(
    postgres_url, schema, clock, execute, damage
):
    async with open_provider(f"{postgres_url}&schema={schema}", clock=clock) as provider:
        turn = await begun(provider)
        await provider.commit_turn(commit_of(turn, events=EVENTS, end=COMPLETED))
        execute(postgres_url, f"UPDATE {schema}.executions SET history = {damage}")  # noqa: S608 # of this test

        with pytest.raises(StorageCorrupt, match="'a' is damaged: the history of execution 1"):
            await read(provider)
        with pytest.raises(StorageCorrupt, match="'a' is damaged: the history of execution 1"):
            await provider.as_management_capability().read_events("a", 1)


@pytest.mark.slow
async def test_the_schema_of_version_1_is_migrated_with_what_it_stores(
    postgres_url, schema, clock, connect
):
    url = f"{postgres_url}&schema={schema}".replace("&create=true", "")
    with connect(url) as connection:
        connection.execute(
            VERSION_1.read_text("utf-8")
            .replace("perdure.", f"{schema}.")
            .replace("SCHEMA perdure", f"SCHEMA {schema}")
        )
    assert await make_schema(PostgresOptions.from_url(ProviderUrl.parse(url))) == 1

    async with open_provider(url, clock=clock) as provider:
        assert await read(provider, instance="ended") == [(1, b"one"), (2, b"two"), (3, b"three")]
        turn = await leased(provider)
        assert turn.state.custom_status == b"status"
        assert await read(provider, instance="running") == [(1, b"one"), (2, b"two")]
        await provider.commit_turn(commit_of(turn, events=(b"three", b"four"), end=COMPLETED))
        assert len(await read(provider, instance="running")) == 4
    with connect(url) as connection:
        [(left,)] = connection.execute(f"SELECT count(*) FROM {schema}.events").fetchall()  # noqa: S608 # of this test
    assert left == 3


def test_only_as_many_events_are_remembered_as_room_allows():
    histories = RunningHistories()
    for number in range(2000):
        histories.learn(str(number), "one", 1, 0, [bytes(15_000)])

    assert histories.pack(ending("0")) is None
    assert histories.pack(ending("1999")) == pack_history([bytes(15_000), b"end"])


def test_what_another_process_wrote_in_place_of_an_event_counts():
    histories = RunningHistories()
    histories.learn("a", "one", 1, 0, [b"first", b"lost", b"lost too"])
    histories.learn("a", "one", 1, 1, [b"second"])

    assert histories.pack(ending("a")) is None
    assert histories.pack(replace(ending("a"), expected_event=2)) == pack_history(
        [b"first", b"second", b"end"]
    )


def ending(instance):
    """A commit that ends an execution after its first event."""
    return TurnCommit(
        id="last",
        instance=instance,
        incarnation="one",
        token="token",  # noqa: S106 # no secret
        execution=1,
        expected_event=1,
        events=(b"end",),
        end=COMPLETED,
    )
