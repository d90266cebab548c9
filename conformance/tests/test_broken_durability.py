"""Providers that forget at a close or at a kill, and processes that don't share."""

import copy
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from perdure.contract import MANAGEMENT, PERSISTENT, SHARED, CommitAnswer, DelegatingProvider
from perdure.providers.loader import open_provider
from perdure_conformance.backend import Declaration, with_namespace
from perdure_conformance.broken_providers import Broken, StoreBackend, breaks, what_catches
from perdure_conformance.clauses import CLAUSES, durability

pytest.importorskip("perdure_sqlite")


class Reopens(StoreBackend):
    """Loses something whenever the storage is opened again."""

    def __init__(self):
        super().__init__(capabilities=frozenset({MANAGEMENT, PERSISTENT}))

    @asynccontextmanager
    async def open(self, *, clock, namespace):
        before = self._stores.get(namespace)
        if before is not None:
            self._stores[namespace] = copy.deepcopy(before)
            self.lose(self._stores[namespace].tables)
        async with super().open(clock=clock, namespace=namespace) as provider:
            yield provider

    def lose(self, tables):
        raise NotImplementedError


@breaks("DURABLE-1")
class ForgetsEverything(Reopens):
    def lose(self, tables):
        tables.__init__()


@breaks("DURABLE-1")
class ForgetsTurnLeases(Reopens):
    def lose(self, tables):
        for row in tables.instances.values():
            row.lease = None


@breaks("DURABLE-1")
class ForgetsDelays(Reopens):
    def lose(self, tables):
        for row in tables.instances.values():
            row.hidden_until = None


@breaks("DURABLE-1")
class ForgetsAttempts(Reopens):
    def lose(self, tables):
        for row in tables.instances.values():
            row.attempt = 0


@breaks("DURABLE-1")
class ForgetsItsLastAnswer(Reopens):
    def lose(self, tables):
        for row in tables.instances.values():
            row.answer = CommitAnswer()
            row.state = replace(row.state, last_commit=None)


@breaks("DURABLE-1")
class ForgetsTheOrderOfMailboxes(Reopens):
    def lose(self, tables):
        for box in tables.mailboxes.values():
            for place, entry in enumerate(sorted(box.values(), key=lambda x: x.message.id)):
                entry.front, entry.arrival, entry.due = None, place, 0


@breaks("DURABLE-1")
class ForgetsEventsForAbsentIds(Reopens):
    def lose(self, tables):
        for name in set(tables.mailboxes) - set(tables.instances):
            del tables.mailboxes[name]


@breaks("DURABLE-1")
class ForgetsActivities(Reopens):
    def lose(self, tables):
        tables.activities.clear()


class OnSqlite:
    """A file that other processes write, seen through another provider object."""

    seen_through = DelegatingProvider
    capabilities = frozenset({MANAGEMENT, PERSISTENT, SHARED})

    def __init__(self, directory):
        self.url = f"sqlite:///{directory}/store.db"
        self.own = self.url
        self.declaration = Declaration(
            scheme="sqlite", contract=(1, 0), capabilities=self.capabilities, description="sqlite"
        )

    @asynccontextmanager
    async def open(self, *, clock, namespace):
        async with open_provider(with_namespace(self.own, namespace), clock=clock) as provider:
            yield self.seen_through(provider)


class LosesEverythingAtAKill(OnSqlite):
    clause = "DURABLE-2"

    def __init__(self, directory):
        super().__init__(directory)
        self.own = f"sqlite:///{directory}/other.db"


class LosesChildrenAtAKill(OnSqlite):
    clause = "DURABLE-2"

    class seen_through(DelegatingProvider):  # noqa: N801
        async def read_instance(self, instance):
            return None if instance.endswith("child") else await super().read_instance(instance)


class LosesActivitiesAtAKill(OnSqlite):
    clause = "DURABLE-2"

    class seen_through(DelegatingProvider):  # noqa: N801
        async def lease_activities(self, request):
            return ()


class SharesNothing(OnSqlite):
    clause = "SHARED-1"

    def __init__(self, directory):
        super().__init__(directory)
        self.url = "memory://"


class HearsOfNoOtherProcess(OnSqlite):
    """Looks when a wait begins, and then rests for its timeout."""

    clause = "SHARED-2"

    class seen_through(DelegatingProvider):  # noqa: N801
        async def wait_for_change(self, wait):
            await self.clock.sleep(wait.timeout)

        async def wait_for_work(self, wait):
            await self.clock.sleep(wait.timeout)


class HearsOfWorkAlone(OnSqlite):
    clause = "SHARED-2"

    class seen_through(DelegatingProvider):  # noqa: N801
        async def wait_for_change(self, wait):
            await self.clock.sleep(wait.timeout)


class HearsOfTurnsAlone(OnSqlite):
    clause = "SHARED-2"

    class seen_through(DelegatingProvider):  # noqa: N801
        async def wait_for_work(self, wait):
            if wait.serves is None:
                await self.clock.sleep(wait.timeout)
            else:
                await super().wait_for_work(wait)


class IsInUse(OnSqlite):
    clause = "SHARED-1"

    def __init__(self, directory):
        super().__init__(directory)
        self.url = f"sqlite:///{directory}/none/store.db"


class HasNoUrl(OnSqlite):
    clause = "SHARED-1"

    def __init__(self, directory):
        super().__init__(directory)
        self.url = None


ON_SQLITE = [
    LosesEverythingAtAKill,
    LosesChildrenAtAKill,
    LosesActivitiesAtAKill,
    SharesNothing,
    HearsOfNoOtherProcess,
    HearsOfWorkAlone,
    HearsOfTurnsAlone,
    IsInUse,
    HasNoUrl,
]


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ON_SQLITE)
def test_a_provider_that_fails_other_processes_is_caught(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(durability, "PATIENCE", 1.0 if kind.clause == "SHARED-1" else 8.0)
    broken = Broken(name=kind.__name__, clauses=(kind.clause,), make=lambda: kind(tmp_path))
    (check,) = (check for check in CLAUSES if check.id == kind.clause)

    assert what_catches(broken, check) is not None
