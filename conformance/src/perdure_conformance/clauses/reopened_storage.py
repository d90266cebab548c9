"""DURABLE-1: what a storage shows after a close and a new open, against a model that was never closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from perdure.contract import (
    LISTING,
    MANAGEMENT,
    PERSISTENT,
    VALUES,
    ActivityRelease,
    Message,
    MessageKind,
    NewChild,
    NewInstance,
    ParentLink,
    ParkedMark,
    Provider,
    Serves,
    TurnCommit,
    TurnRelease,
    TurnRequest,
)

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.scenes import Scene
from perdure_conformance.clauses.spans import INSTANT
from perdure_conformance.comparison.requests import Request
from perdure_conformance.comparison.visible import first_difference, visible
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    SECOND,
    event,
    restart,
    result,
    timer,
)

MARK = ParkedMark(reason="undecodable", details="ß")
CLOSED = timedelta(seconds=5)
"""How long the storage is closed."""
BACK = timedelta(seconds=7)
"""How far the clock steps back then: behind the last call before the close."""
LETTERS = ("a", "b", "c", "d", "e", "child", "used", "ghost")


@check("DURABLE-1", needs=PERSISTENT)
async def acknowledged_calls_survive_a_close(bench: Bench) -> None:
    """After a close and a new open everything is as it was, and goes on as if nothing had been closed."""
    scene = Reopened(bench, 0)
    await scene.fill_mailboxes()
    await scene.fill_queue()
    await scene.hide_and_end()
    await scene.compare("before the close")
    await bench.close(bench.provider)
    bench.advance(CLOSED)
    bench.provider = await bench.open()
    bench.clock.step_back(BACK)
    await scene.compare("after the new open")
    await scene.go_on()


class Reopened(Scene):
    """A scene with something of everything that a storage keeps."""

    last: TurnCommit
    """The last commit of `a`, whose answer has everything."""
    holder: str
    """The token of the lease of `b` that is kept."""
    overtaken: str
    """The token of the lease of `c` that was taken over."""
    overtaken_worker: str
    """The token of the lease of an activity that was taken over."""

    def look(self, token: str | None = None, lease_for: timedelta = LEASE) -> TurnRequest:
        """A look for all turns, pinned ones too."""
        serves = Serves(orchestrations={self.flow: frozenset({"1.0.0"})})
        return replace(super().look(token, lease_for), serves=serves)

    @property
    def capabilities(self) -> frozenset[str]:
        return self.bench.backend.declaration.capabilities

    async def compare(self, when: str) -> None:
        """Complain if anything that can be seen without a lease differs from the model."""
        instances = [self.id(letter) for letter in LETTERS]
        found, wanted = [
            await visible(provider, instances, capabilities=self.capabilities)
            for provider in (self.bench.provider, self.model)
        ]
        if MANAGEMENT in self.capabilities:
            found = {**found, "executions": await self.executions(self.bench.provider)}
            wanted = {**wanted, "executions": await self.executions(self.model)}
        difference = first_difference(found, wanted)
        if difference is not None:
            raise ClauseBroken(f"{when}, {difference}")

    async def executions(self, provider: Provider) -> object:
        """All executions of `b`."""
        admin = provider.as_management_capability()
        return admin and list(await admin.list_executions(self.id("b")))

    def labelled(self, new: NewInstance) -> NewInstance:
        """The instance with a version, an engine and, where the provider keeps them, labels."""
        labels = {"label": "ä", "": ""} if LISTING in self.capabilities else {}
        return replace(new, version="1.0.0", engine=2, labels=labels)

    async def fill_mailboxes(self) -> None:
        """Give `b` an old execution with its output, messages of every order, and a lease that is kept."""
        first = self.token()
        await self.do(self.new("b"), self.look(first))
        start = restart(2, self.id("b"))
        again = self.commit(
            first, "b", events=(b"1", b"2"), end=AGAIN, front=(start,), keep_for=LEASE
        )
        await self.do(again, self.messages("z", "y"))
        fronts = (event("front-2", self.id("b")), event("front-1", self.id("b")))
        await self.do(
            self.commit(first, "b", remove=(), front=fronts, events=(b"3",), keep_for=LEASE),
            self.messages("later", later=SECOND * 40),
            (timer("due", self.bench.after(SECOND), self.id("b"), execution=2),),
            self.messages("x"),
        )
        self.holder = first
        for name in ("z", "m", "a"):
            await self.do((event(name, self.id("ghost")),))

    def messages(self, *names: str, later: timedelta | None = None) -> tuple[Message, ...]:
        """A call that sends events to `b`."""
        visible_at = None if later is None else self.bench.after(later)
        return tuple(event(name, self.id("b"), visible_at=visible_at) for name in names)

    async def fill_queue(self) -> None:
        """Give `a` activities of every kind, leases that were taken over, and a last commit with a full answer."""
        await self.do(self.labelled(self.new("a")), self.new("used", incarnation="another"))
        await self.do(self.look(lease_for=SECOND))
        self.bench.advance(SECOND)
        token, worker, self.overtaken_worker = self.token(), self.token(), self.token()
        await self.do(self.look(token))
        kinds = (
            replace(self.work("leased"), data=b"input"),
            self.work("delayed"),
            replace(self.work("tagged"), tag="gpu"),
            replace(self.work("later"), visible_at=self.bench.after(SECOND * 50)),
        )
        await self.do(
            self.commit(token, add=kinds, remove=(), keep_for=LEASE),
            self.look_for_work(self.overtaken_worker, SECOND),
        )
        self.bench.advance(SECOND)
        await self.do(self.look_for_work(worker))
        delayed = ActivityRelease(lease=self.held_work(worker, "delayed"), delay=LEASE)
        child = self.labelled(self.new("child"))
        parent = ParentLink(
            instance=self.id(), incarnation=self.incarnation(), execution=1, event=1
        )
        in_use = result("in-use", self.id(), kind=MessageKind.CHILD)
        self.last = self.commit(
            token,
            add=(self.work("direct", lease=True),),
            activity_token="direct",  # no secret
            activity_lease_for=LEASE,
            create=(
                NewChild(instance=replace(child, parent=parent)),
                NewChild(instance=self.new("used"), if_exists=in_use),
            ),
            send=(event("sent", self.id()),),
            keep_for=LEASE,
        )
        if VALUES in self.capabilities:
            values = {"key": b"value", "empty": b""}
            self.last = replace(self.last, custom_status=b"status", values=values)
        await self.do(delayed, self.last)

    async def hide_and_end(self) -> None:
        """Take a turn of `c` over and park it, and end `d`."""
        await self.do(self.new("c"), self.new("d"))
        token = self.token()
        await self.do(self.look(token, SECOND))
        ended = self.commit(token, "d", end=COMPLETED)
        await self.do(ended, TurnRelease(lease=self.held(token, "c"), delay=SECOND, parked=MARK))
        self.bench.advance(SECOND)
        self.overtaken = self.token()
        await self.do(self.look(self.overtaken, SECOND))
        self.bench.advance(SECOND)
        delayed = self.token()
        await self.do(self.new("e"), self.look(delayed))
        self.bench.advance(LEASE / 2)
        await self.do(TurnRelease(lease=self.held(delayed, "e"), delay=LEASE), self.messages("w"))

    async def go_on(self) -> None:
        """Make calls that depend on all of it, and compare each answer."""
        await self.do(
            self.last,
            TurnRelease(lease=self.held(self.overtaken, "c"), counted=False),
            ActivityRelease(lease=self.held_work(self.overtaken_worker, "leased"), counted=False),
            self.messages("z", "x", "new"),
            (event("m", self.id("ghost")), event("b", self.id("ghost"))),
        )
        front = (event("front-0", self.id("b")),)
        await self.do(
            self.commit(self.holder, "b", remove=(), front=front, keep_for=SECOND * 3),
            self.new("ghost"),
        )
        await self.compare("after further calls on the reopened storage")
        for pause in self.pauses():
            self.bench.advance(pause)
            await self.do(*self.looks())
        await self.compare("after looks at the reopened storage")

    def looks(self) -> Sequence[Request]:
        """Looks for everything that this scene has."""
        tagged = replace(self.look_for_work(), tags=frozenset({"gpu"}))
        return self.look(), self.look_for_work(), tagged

    def pauses(self) -> Sequence[timedelta]:
        """To each instant at which a lease or a delay ends or something is due, and the one before it."""
        tables = self.store.tables
        rows = [*tables.instances.values(), *tables.activities.values()]
        ends = {row.lease.until for row in rows if row.lease is not None}
        ends |= {row.hidden_until for row in rows if row.hidden_until is not None}
        ends |= {row.visible_at for row in tables.activities.values() if row.visible_at is not None}
        for box in tables.mailboxes.values():
            ends |= {entry.message.visible_at for entry in box.values() if entry.message.visible_at}
        pauses: list[timedelta] = [timedelta(0)]
        now = self.bench.now
        for end in sorted(end for end in ends if end > now + 1):
            pauses += [timedelta(microseconds=end - 1 - now), INSTANT]
            now = end
        return pauses
