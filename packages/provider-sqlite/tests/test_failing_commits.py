"""A commit that does everything fails at every statement in turn: all of it is there, or nothing.

What is compared is the file itself, table by table and row by row. In the end the same commit is
carried out once, and the file is what it is without any failure.
"""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from perdure.contract import ExecutionEnd, InstanceStatus, ManualClock, NewActivity, NewChild
from perdure.errors import ProviderError, StorageCorrupt, StorageFailed, StorageUnavailable
from perdure_sqlite._testing.failing_statements import database_error, failing_statement

pytestmark = pytest.mark.slow

LEASE = timedelta(seconds=30)

ENDS = {
    "keeps its lease": {"keep_for": LEASE},
    "gives its lease back": {},
    "continues as new": {
        "end": ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next"),
        "unpin": True,
        "version": None,
        "keep_for": LEASE,
    },
    "completes": {"end": ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")},
}
NEVER = 1_000_000


class Scene:
    """A file in which much is under way, and a commit that touches all of it."""

    def __init__(self, desk, make, path):
        # Each with the same ids and instants, so that files can be compared.
        self.desk, self.make, self.path = desk, make, path
        desk.path, desk.clock = path, ManualClock()

    async def prepare(self, *, end=None, payload=b"data", **options):
        make, self.provider = self.make, await self.desk.open(busy_timeout=0, **options)
        for name in ("beta", "taken"):
            await self.provider.create_instance(make.new(name))
        await self.provider.send([make.event("kid", id="early")])
        await self.provider.create_instance(make.new("alpha"))
        turns = await self.provider.lease_turns(make.request())
        (turn,) = (turn for turn in turns if turn.state.instance == "alpha")
        work = [NewActivity(id=n, name="work", data=payload, lease=n == "1") for n in "123"]
        first = make.commit(turn, events=(b"1", b"2"), add=tuple(work), keep_for=LEASE)
        await self.provider.commit_turn(first)
        await self.provider.send([make.event("alpha", id=name) for name in ("read", "unread")])
        self.desk.clock.advance(timedelta(seconds=1))
        later = self.desk.clock.now() + 60_000_000
        child = make.new("kid", name="child")
        taken = make.new("taken", incarnation="other")
        self.commit = make.commit(
            turn,
            expected_event=2,
            events=(payload, b"4", payload),
            remove=("start", "read"),
            finish=(make.activity_lease("alpha", "1"),),
            cancel=("2",),
            add=(
                NewActivity(id="4", name="other work", data=payload, tag="gpu", lease=True),
                NewActivity(id="5", name="work", data=payload, visible_at=later),
            ),
            send=(
                make.event("alpha", id="own", data=payload),
                make.event("alpha", id="own later", visible_at=later),
                make.event("beta", id="to another", data=payload),
                make.event("ghost", id="to no instance yet"),
            ),
            front=(make.event("alpha", id="front"),),
            create=(
                NewChild(instance=child),
                NewChild(instance=taken, if_exists=make.event("alpha", id="in use")),
            ),
            **{"version": "2.0.0", **ENDS[end or "keeps its lease"]},
        )
        return self

    def rows(self):
        """Everything in the file, as another program reads it."""
        with closing(sqlite3.connect(self.path)) as raw:
            tables = raw.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'perdure_%'"
            ).fetchall()
            return {
                name: sorted(raw.execute(f"SELECT * FROM {name}"), key=repr)  # noqa: S608 # our names
                for (name,) in tables
            }

    async def carried_out(self):
        """The commit's answer and the rows that it leaves; the same when it is repeated."""
        answer = await self.provider.commit_turn(self.commit)
        rows = self.rows()
        assert await self.provider.commit_turn(self.commit) == answer
        assert self.rows() == rows
        return answer, rows

    async def failure(self):
        """The error of the commit, or None where it succeeds."""
        try:
            await self.provider.commit_turn(self.commit)
        except ProviderError as error:
            return error

    async def count_statements(self):
        with failing_statement(self.provider.transaction, NEVER) as counted:
            carried_out = await self.carried_out()
        # The repeat's statements are counted too; the first COMMIT ends those of the commit.
        return counted.statements.index("COMMIT") + 1, carried_out


@pytest.fixture
def scene(desk, make, tmp_path):
    """Sets the same scene in a file of its own, as often as wanted."""
    made = []

    async def prepare(**options):
        for earlier in made:
            await earlier.provider.__aexit__(None, None, None)
        made.clear()
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
        fresh = await Scene(desk, type(make)(), path).prepare(**options)
        made.append(fresh)
        return fresh

    return prepare


@pytest.mark.parametrize("end", ENDS)
async def test_if_any_statement_fails_nothing_has_happened_and_a_repeat_succeeds(scene, end):
    steps, wanted = await (await scene(end=end)).count_statements()
    assert steps > 20

    for step in range(1, steps + 1):
        fresh = await scene(end=end)
        before = fresh.rows()
        with failing_statement(fresh.provider.transaction, step) as fails:
            assert await fresh.failure() is not None
        assert fails.reached
        assert fresh.rows() == before, fails.statements[-1]
        assert await fresh.carried_out() == wanted, fails.statements[-1]


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_if_any_answer_of_the_database_is_lost_a_repeat_makes_it_happen_once(
    scene, durability
):
    steps, wanted = await (await scene(durability=durability)).count_statements()
    happened = 0

    for step in range(1, steps + 1):
        fresh = await scene(durability=durability)
        before = fresh.rows()
        with failing_statement(fresh.provider.transaction, step, when="after") as fails:
            assert await fresh.failure() is not None
        rows = fresh.rows()
        assert rows in (before, wanted[1]), fails.statements[-1]
        happened += rows != before
        assert await fresh.carried_out() == wanted, fails.statements[-1]

    assert happened == 1


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        (sqlite3.SQLITE_BUSY, StorageUnavailable, True),
        (sqlite3.SQLITE_LOCKED, StorageUnavailable, True),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageFailed, False),
        (sqlite3.SQLITE_FULL, StorageFailed, False),
        (sqlite3.SQLITE_READONLY, StorageFailed, False),
        (sqlite3.SQLITE_NOMEM, StorageFailed, True),
        (sqlite3.SQLITE_CORRUPT, StorageCorrupt, False),
    ],
)
async def test_the_error_says_whether_a_repeat_may_help_for_every_statement(
    scene, code, kind, retryable, monkeypatch
):
    monkeypatch.setattr("perdure_sqlite._file.disk_space._INTERVAL", float("inf"))
    steps, wanted = await (await scene()).count_statements()
    fresh = await scene()
    # As on a full disk where room was to be made just now.
    assert fresh.provider.opened.writer._disk_space.may_truncate_log()
    before = fresh.rows()

    for step in range(1, steps + 1):
        with failing_statement(fresh.provider.transaction, step, code=code) as fails:
            error = await fresh.failure()
        assert fails.reached
        assert (type(error), error.retryable) == (kind, retryable)
        assert error.operation == "commit_turn"
        assert error.__cause__.sqlite_errorcode == code
        assert fresh.rows() == before, fails.statements[-1]

    assert await fresh.carried_out() == wanted


async def test_a_rollback_that_fails_too_is_made_up_for(scene):
    _, wanted = await (await scene()).count_statements()
    fresh = await scene()
    transaction, before = fresh.provider.transaction, fresh.rows()
    execute = transaction.execute

    def fails_to_roll_back(statement, parameters=()):
        if statement == "ROLLBACK":
            raise database_error(sqlite3.SQLITE_IOERR)
        return execute(statement, parameters)

    transaction.execute = fails_to_roll_back
    with failing_statement(transaction, 10):
        assert await fresh.failure() is not None
    transaction.execute = execute

    assert fresh.rows() == before
    assert await fresh.carried_out() == wanted


async def test_a_commit_is_interrupted_in_the_middle_of_its_statements(scene):
    _, wanted = await (await scene()).count_statements()
    fresh = await scene()
    writer, before = fresh.provider.opened.database.writer, fresh.rows()
    interrupted = 0

    while True:
        passed = 0

        def interrupts(limit=interrupted * 9):
            nonlocal passed
            passed += 1
            return passed > limit

        writer.set_progress_handler(interrupts, 5)
        error = await fresh.failure()
        writer.set_progress_handler(None, 5)
        if error is None:
            break
        interrupted += 1
        assert error.__cause__.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT
        assert fresh.rows() == before

    assert interrupted > 10
    assert await fresh.carried_out() == wanted


async def test_a_disk_that_is_full_at_any_page_leaves_nothing_behind(scene):
    large = bytes(9_000)
    _, wanted = await (await scene(payload=large)).count_statements()
    fresh = await scene(payload=large)
    writer, before = fresh.provider.opened.database.writer, fresh.rows()
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    full = 0

    while True:
        writer.execute(f"PRAGMA max_page_count={pages + full}").fetchone()
        error = await fresh.failure()
        if error is None:
            break
        full += 1
        assert "make room" in str(error)
        assert fresh.rows() == before

    assert full > 5
    assert await fresh.carried_out() == wanted


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_a_write_that_the_system_cuts_off_leaves_nothing_behind(scene, durability):
    resource = pytest.importorskip("resource")
    large = bytes(9_000)
    _, wanted = await (await scene(payload=large, durability=durability)).count_statements()
    fresh = await scene(payload=large, durability=durability)
    before, log = fresh.rows(), fresh.path.with_name(fresh.path.name + "-wal")
    limits, begin = resource.getrlimit(resource.RLIMIT_FSIZE), log.stat().st_size
    cut = 0

    while True:
        resource.setrlimit(resource.RLIMIT_FSIZE, (begin + 3_000 * cut, limits[1]))
        try:
            error = await fresh.failure()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if error is None:
            break
        cut += 1
        assert "check the disk" in str(error)
        assert fresh.rows() == before

    assert cut > 5
    assert await fresh.carried_out() == wanted


async def test_a_failure_in_a_group_reaches_no_caller_where_the_repeat_succeeds(scene):
    fresh = await scene()
    steps, _ = await fresh.count_statements()

    for step in range(2, steps + 1):
        fresh = await scene()
        with failing_statement(fresh.provider.transaction, step) as fails:
            answers = await asyncio.gather(
                fresh.provider.commit_turn(fresh.commit),
                fresh.provider.send([fresh.make.event("beta", id="neighbour")]),
                fresh.provider.create_instance(fresh.make.new("new")),
                return_exceptions=True,
            )
        assert fails.reached
        assert [each for each in answers if isinstance(each, Exception)] == []
        rows = fresh.rows()
        assert [row[4] for row in rows["perdure_messages"]].count("neighbour") == 1
        assert [row[2] for row in rows["perdure_instances"]].count("new") == 1
        assert (await fresh.provider.read_instance("alpha")).last_event == 5
