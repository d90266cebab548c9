"""Providers that lose calls, or hang, when they are closed while calls are in progress."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from perdure_conformance import bench as bench_module
from perdure_conformance.broken_providers import StoreBackend, breaks, what_catches
from perdure_conformance.clauses import CLAUSES, closing
from perdure_conformance.model import ModelProvider


class Slow(ModelProvider):
    """Takes some steps of the event loop for a call, and knows when it is closed."""

    is_closed = False

    async def pause(self):
        for _ in range(5):
            await asyncio.sleep(0)

    async def close(self):
        self.is_closed = True

    async def commit_turn(self, commit):
        await self.pause()
        return await super().commit_turn(commit)


class Closes(StoreBackend):
    """Tells its provider objects that they are closed."""

    kind = Slow

    def __init__(self):
        super().__init__(provider=self.kind)

    @asynccontextmanager
    async def open(self, *, clock, namespace):
        async with super().open(clock=clock, namespace=namespace) as provider:
            yield provider
            await provider.close()


class ForgetsItsWaits(Slow):
    async def wait_for_work(self, wait):
        await super().wait_for_work(wait)
        if self.is_closed:
            await asyncio.Event().wait()


class WaitsForItsWaits(Slow):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.over = asyncio.Event()
        self.over.set()

    async def wait_for_change(self, wait):
        self.over.clear()
        await super().wait_for_change(wait)
        self.over.set()

    async def close(self):
        await self.over.wait()


class CancelsItsCalls(Slow):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.calls = set()

    async def commit_turn(self, commit):
        call = asyncio.ensure_future(super().commit_turn(commit))
        self.calls.add(call)
        try:
            return await call
        finally:
            self.calls.discard(call)

    async def close(self):
        for call in self.calls:
            call.cancel()


class RaisesWhatItsDriverRaises(Slow):
    async def commit_turn(self, commit):
        await self.pause()
        if self.is_closed:
            raise RuntimeError("the connection is closed")
        return await super().commit_turn(commit)


class LosesWhatItHasAnswered(Slow):
    """Answers a creation, and writes it a little later."""

    async def create_instance(self, new):
        self.writing = asyncio.ensure_future(self.write(new))

    async def write(self, new):
        await self.pause()
        if not self.is_closed:
            await super().create_instance(new)


class WritesHalfOfACommit(Slow):
    async def commit_turn(self, commit):
        await super().commit_turn(replace(commit, events=()))
        await self.pause()
        if not self.is_closed:
            self._store.append_events(commit)
        row = self._store.tables.instances[commit.instance]
        row.state = replace(row.state, last_event=commit.expected_event + len(commit.events))


def broken_by(kind):
    return breaks("CALL-15")(type(kind.__name__, (Closes,), {"kind": kind}))


BROKEN = [
    broken_by(kind)
    for kind in (
        ForgetsItsWaits,
        WaitsForItsWaits,
        CancelsItsCalls,
        RaisesWhatItsDriverRaises,
        LosesWhatItHasAnswered,
        WritesHalfOfACommit,
    )
]
first, second, third, fourth, fifth, sixth = BROKEN


def test_a_provider_that_only_takes_its_time_passes():
    (check,) = (check for check in CLAUSES if check.id == "CALL-15")

    assert what_catches(breaks("CALL-15")(Closes), check) is None


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch):
    monkeypatch.setattr(closing, "PATIENCE", 0.05)
    monkeypatch.setattr(bench_module, "PATIENCE", 0.05)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
