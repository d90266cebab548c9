"""Random orchestrations: trees of asyncio's vocabulary, made from a seed and interpreted.

A program is its orchestration's input, so that a history replays without the generator. Every
activity's input counts what happened before it: an interleaving that differs shows as a command
that differs, long before the output does.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Literal

from perdure import Fixed, OrchestrationContext, Registry, RetryPolicy
from perdure.authoring.catalog import Catalog
from perdure.history import INCOMING, OrchestrationStarted, PatchApplied
from perdure.model.details import ApplicationFailure, Raised
from perdure.records.cuts import cuts

from .driver import Answer, Restart, World, play, shuffled

programs = Registry()
unpatched_programs = Registry()
variable = contextvars.ContextVar("variable", default=0)
Node = list[Any]
DEEPEST = 4


# Making them


class Generator:
    """Makes one program of a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"program/{seed}")
        self._left = self._random.randint(8, 60)

    def program(self) -> list[Node]:
        """The trees of its executions: continue-as-new goes on with the next."""
        trees = [self.node(0)]
        while self._random.random() < 0.25 and len(trees) < 3:
            trees[-1] = ["seq", trees[-1], ["again"]]
            self._left = 15
            trees.append(self.node(0))
        return trees

    def node(self, depth: int) -> Node:
        self._left -= 1
        if depth >= DEEPEST or self._left <= 0 or self._random.random() < 0.12 * depth:
            return self._leaf()
        return self._branch(depth)

    def _leaf(self) -> Node:
        pick, slot = self._random, self._random.randrange(3)
        match pick.choice(_LEAVES):
            case "act":
                return ["act", pick.choice(("a", "a", "b", "b", "c", "c", "bad"))]
            case "retry":
                limit = pick.choice((None, None, 3))
                return ["retry", pick.choice(("flaky", "flaky", "bad")), pick.randint(1, 4), limit]
            case "sleep":
                return ["sleep", pick.choice((0, 0, 1, 5, 30))]
            case "event":
                return ["event", pick.choice(("x", "y")), *pick.choice(_WAITS)]
            case "put" | "notify" | "set" as word:
                return [word, slot, pick.choice(("a", "b"))]
            case "value":
                return ["value", pick.choice(("set", "set", "get", "get", "delete", "all")), slot]
            case "poll":
                return ["poll", pick.choice(("x", "y")), pick.choice(("any", "int"))]
            case word:
                return [word, slot]

    def _branch(self, depth: int) -> Node:
        pick, slot = self._random, self._random.randrange(3)
        word = pick.choice(_BRANCHES)
        if word in _MANY:
            return [word, *(self.node(depth + 1) for _ in range(pick.randint(2, 4)))]
        inner = self.node(depth + 1)
        match word:
            case "timeout" | "wait_for" | "shield":
                return [word, pick.choice((0, 1, 5, 20)), inner]
            case "try" | "catch" | "swallow":
                return [word, inner, self.node(depth + 1)]
            case "generator":
                return [word, pick.randint(0, 3), pick.choice(("break", "close", "all")), inner]
            case _:
                return [word, slot, inner]


_LEAVES = (
    *("act",) * 10,
    *("retry", "sleep", "event") * 2,
    *("child", "detached", "put", "get", "set", "await_set", "notify", "await_change"),
    *("schedule", "take", "drop", "cancel", "join", "raise", "chance", "yield", "cancel_self"),
    *("patch", "poll", "status") * 2,
    *("value",) * 6,
    "tell",
)
_WAITS = (("any", "wait"), ("any", "wait"), ("int", "wait"), ("int", "raise"))
"""The type of a wait, and what becomes of it where an event does not fit."""
_MANY = ("seq", "gather", "collect", "group", "first", "wait_some", "completed", "each")
_BRANCHES = (
    *_MANY * 2,
    *("timeout", "wait_for", "shield", "try", "catch", "swallow", "generator"),
    *("lock", "semaphore", "spawn", "spawn"),
)


# Running them


@programs.orchestration
async def interpret(ctx: OrchestrationContext, trees: list[Node]) -> list[str]:
    """Run the first tree; what it leaves behind is left to the engine."""
    return await Interpreter(ctx, trees).run()


class Interpreter:
    """Runs a tree and keeps a trace of what happened, in order."""

    def __init__(self, ctx: OrchestrationContext, trees: list[Node]) -> None:
        self._ctx = ctx
        self._trees = trees
        self._trace: list[str] = []
        self._count = 0
        self._locks = [asyncio.Lock() for _ in range(3)]
        self._semaphores = [asyncio.Semaphore(2) for _ in range(3)]
        self._queues: list[asyncio.Queue[str]] = [asyncio.Queue(maxsize=2) for _ in range(3)]
        self._flags = [asyncio.Event() for _ in range(3)]
        self._changes = [asyncio.Condition() for _ in range(3)]
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._futures: dict[int, asyncio.Future[Any]] = {}

    async def run(self) -> list[str]:
        # A random program may wait in vain; with this it has something to wait for.
        self._ctx.schedule_wait("never raised")
        try:
            await self.node(self._trees[0])
        except Exception as error:  # noqa: BLE001 # whatever a random program raises
            self._note(f"raised {type(error).__name__}")
        return self._trace

    def _note(self, what: object) -> None:
        self._count += 1
        self._trace.append(f"{what}")
        del self._trace[:-60]

    def _input(self, name: str) -> str:
        self._count += 1
        return f"{name}/{self._count}/{variable.get()}"

    async def node(self, node: Node) -> Any:
        word, *arguments = node
        result = await getattr(self, f"_{word}")(*arguments)
        self._note(word)
        return result

    def _start(self, nodes: tuple[Node, ...]) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self.node(node)) for node in nodes]

    # Leaves

    async def _act(self, name: str) -> str:
        return await self._ctx.schedule_activity(name, self._input(name))

    async def _retry(self, name: str, most: int, limit: float | None) -> str:
        policy = RetryPolicy(
            max_attempts=most,
            backoff=Fixed(timedelta(seconds=1), jitter=0.5),
            attempt_timeout=None if limit is None else timedelta(seconds=limit),
        )
        return await self._ctx.schedule_activity(name, self._input(name), retry=policy)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _yield(self, _: int) -> None:
        await asyncio.sleep(0)

    async def _event(self, name: str, type: str, on_invalid: Literal["wait", "raise"]) -> None:
        expected = int if type == "int" else object
        self._note(await self._ctx.schedule_wait(name, expected, on_invalid=on_invalid))

    async def _poll(self, name: str, type: str) -> None:
        self._note(self._ctx.poll_event(name, int if type == "int" else object))

    async def _tell(self, slot: int) -> None:
        self._ctx.raise_event(("other", self._ctx.instance)[slot % 2], "x", self._input("told"))

    async def _status(self, _: int) -> None:
        self._ctx.set_status(self._input("status"))

    async def _value(self, what: str, slot: int) -> None:
        ctx, key = self._ctx, f"key{slot}"
        match what:
            case "set":
                ctx.set_value(key, self._input("value"))
            case "delete":
                ctx.delete_value(key)
            case "get":
                self._note(ctx.get_value(key, str))
            case _:
                self._note(ctx.values())

    async def _child(self, slot: int) -> None:
        self._note(await self._ctx.schedule_sub_orchestration(f"child{slot}", self._input("c")))

    async def _detached(self, slot: int) -> None:
        self._note(self._ctx.schedule_orchestration(f"detached{slot}", self._input("d")))

    async def _put(self, slot: int, what: str) -> None:
        await self._queues[slot].put(what)

    async def _get(self, slot: int) -> None:
        self._note(await self._queues[slot].get())

    async def _set(self, slot: int, _: str) -> None:
        self._flags[slot].set()

    async def _await_set(self, slot: int) -> None:
        await self._flags[slot].wait()
        self._flags[slot].clear()

    async def _notify(self, slot: int, _: str) -> None:
        async with self._changes[slot]:
            self._changes[slot].notify()

    async def _await_change(self, slot: int) -> None:
        async with self._changes[slot]:
            await self._changes[slot].wait()

    async def _schedule(self, slot: int) -> None:
        future = self._ctx.schedule_activity("a", self._input("later"))
        future.add_done_callback(lambda _: self._note(f"done {slot}"))
        self._futures[slot] = future

    async def _take(self, slot: int) -> None:
        if slot in self._futures:
            self._note(await self._futures[slot])

    async def _drop(self, slot: int) -> None:
        if slot in self._futures:
            self._note(self._futures[slot].cancel())

    async def _spawn(self, slot: int, inner: Node) -> None:
        variable.set(variable.get() + 1)
        self._tasks[slot] = asyncio.create_task(self.node(inner))

    async def _cancel(self, slot: int) -> None:
        if slot in self._tasks:
            self._note(self._tasks[slot].cancel())

    async def _join(self, slot: int) -> None:
        task = self._tasks.get(slot)
        if task is not None and task is not asyncio.current_task():
            await asyncio.wait([task], timeout=10)

    async def _raise(self, slot: int) -> None:
        raise (ValueError, KeyError, TimeoutError)[slot](f"raised {slot}")

    async def _chance(self, _: int) -> None:
        self._note(f"{self._ctx.random().random()} {self._ctx.uuid4()} {self._ctx.now()}")

    async def _patch(self, slot: int) -> None:
        applies = self._ctx.patched(f"patch{slot}")
        self._note(applies)
        if applies:
            await self._act("a")

    async def _cancel_self(self, _: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def _again(self) -> None:
        self._ctx.continue_as_new(self._trees[1:])

    # Branches

    async def _seq(self, *nodes: Node) -> None:
        for node in nodes:
            await self.node(node)

    async def _gather(self, *nodes: Node) -> None:
        await asyncio.gather(*(self.node(node) for node in nodes))

    async def _collect(self, *nodes: Node) -> None:
        results = await asyncio.gather(*(self.node(node) for node in nodes), return_exceptions=True)
        self._note([type(result).__name__ for result in results])

    async def _group(self, *nodes: Node) -> None:
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(self.node(node))

    async def _first(self, *nodes: Node) -> None:
        tasks = self._start(nodes)
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        self._note([tasks.index(task) for task in (*done, *pending)])
        for task in done:
            task.result()

    async def _wait_some(self, *nodes: Node) -> None:
        tasks = self._start(nodes)
        done, pending = await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_EXCEPTION)
        self._note([tasks.index(task) for task in (*done, *pending)])
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _completed(self, *nodes: Node) -> None:
        for future in asyncio.as_completed(self._start(nodes)):
            await future

    async def _each(self, *nodes: Node) -> None:
        async for node in self._nodes(nodes):
            await self.node(node)

    async def _nodes(self, nodes: tuple[Node, ...]) -> AsyncIterator[Node]:
        for node in nodes:
            yield node
            await self._act("between")

    async def _timeout(self, seconds: float, inner: Node) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.node(inner)
        except TimeoutError:
            self._note("expired")

    async def _wait_for(self, seconds: float, inner: Node) -> None:
        await asyncio.wait_for(self.node(inner), seconds)

    async def _shield(self, seconds: float, inner: Node) -> None:
        task = asyncio.create_task(self.node(inner))
        try:
            await asyncio.wait_for(asyncio.shield(task), seconds)
        except TimeoutError:
            self._note("the shielded goes on")

    async def _try(self, inner: Node, cleanup: Node) -> None:
        try:
            await self.node(inner)
        finally:
            await self.node(cleanup)

    async def _catch(self, inner: Node, instead: Node) -> None:
        try:
            await self.node(inner)
        except Exception as error:  # noqa: BLE001 # whatever a random program raises
            self._note(type(error).__name__)
            await self.node(instead)

    async def _swallow(self, inner: Node, instead: Node) -> None:
        try:
            await self.node(inner)
        except asyncio.CancelledError:
            await self.node(instead)

    async def _generator(self, most: int, end: str, inner: Node) -> None:
        if end == "close":
            async with aclosing(self._pages(inner)) as pages:
                await self._read(pages, most)
        else:
            await self._read(self._pages(inner), 9 if end == "all" else most)

    async def _read(self, pages: AsyncIterator[int], most: int) -> None:
        async for number in pages:
            self._note(number)
            if number >= most:
                break

    async def _pages(self, inner: Node) -> AsyncIterator[int]:
        try:
            for number in range(3):
                await self._act(f"page{number}")
                yield number
        finally:
            self._note("closing")
            await self.node(inner)

    async def _lock(self, slot: int, inner: Node) -> None:
        async with self._locks[slot]:
            await self.node(inner)

    async def _semaphore(self, slot: int, inner: Node) -> None:
        async with self._semaphores[slot]:
            await self.node(inner)


@unpatched_programs.orchestration(name="interpret")
async def interpret_unpatched(ctx: OrchestrationContext, trees: list[Node]) -> list[str]:
    """Run the first tree as the code did before it got its patches."""
    return await UnpatchedInterpreter(ctx, trees).run()


class UnpatchedInterpreter(Interpreter):
    """Interprets programs without their patches."""

    async def _patch(self, slot: int) -> None:
        self._note(False)


# Playing them


def answer(name: str, input: str, attempt: int) -> Answer:
    """`bad` always fails, `flaky` at its first two attempts."""
    if name == "bad" or (name == "flaky" and attempt < 3):
        return ApplicationFailure(Raised(type_name="ValueError", message=name))
    return input


def make_world(seed: int, restart: Restart) -> World:
    """The world of a seed, with what comes from outside in its mailbox."""
    pick = random.Random(f"world/{seed}")
    world = World(
        app=programs,
        name="interpret",
        input=json.dumps(Generator(seed).program()),
        restart=restart,
        answer_activity=answer,
        keeps_late=pick.random() < 0.5,
        cleanup_timeout=timedelta(seconds=pick.choice((1, 60))),
    )
    for number in range(pick.randint(0, 4)):
        world.raise_event(pick.choice("xy"), pick.choice((f"{number}", f"{number}", '"text"')))
    if pick.random() < 0.3:
        world.cancel()
    return world


def check(seed: int, orders: int = 2) -> int:
    """Play a program live and restarted everywhere; all must agree. Returns its events."""
    return sum(_check_order(seed, order) for order in range(orders))


def _check_order(seed: int, order: int) -> int:
    restart: Restart = "cold" if order % 2 else "evicted"
    live, restarted = make_world(seed, "never"), make_world(seed, restart)
    try:
        for world in (live, restarted):
            play(world, shuffled(f"{seed}/{order}"))
        assert restarted.histories == live.histories, f"seed {seed}, order {order}"
        assert restarted.drafts == live.drafts, f"seed {seed}, order {order}"
    finally:
        live.discard()
        restarted.discard()
    return sum(len(one) for one in live.histories)


def check_patching(seed: int) -> int:
    """Play a program without its patches, deploy them in the middle, and rebuild it everywhere.

    Returns how many patches it came to after that.
    """
    pick = random.Random(f"patching/{seed}")
    patched, unpatched = Catalog([programs]), Catalog([unpatched_programs])
    live, restarted = make_world(seed, "never"), make_world(seed, "never")
    choose = {id(world): shuffled(f"{seed}/patching") for world in (live, restarted)}
    deployed_after = pick.randint(0, 3)
    try:
        for world in (live, restarted):
            world.catalog = unpatched
            world.start()
            for _ in range(deployed_after):
                if not world.ended and world.waiting:
                    world.deliver(*choose[id(world)](world.waiting))
            world.catalog = patched
            if not world.ended:
                world.forget()
        restarted.restart = "cold"
        for world in (live, restarted):
            play(world, choose[id(world)])
        assert restarted.histories == live.histories, f"seed {seed}"
        assert restarted.drafts == live.drafts, f"seed {seed}"
    finally:
        live.discard()
        restarted.discard()
    return sum(isinstance(event, PatchApplied) for events in live.histories for event in events)


def check_rewinding(seed: int) -> int:
    """Play a program with rewinds in the middle, live and restarted everywhere; all must agree.

    Returns how many events the rewinds kept.
    """
    restart: Restart = "cold" if seed % 2 else "evicted"
    live, restarted = make_world(seed, "never"), make_world(seed, restart)
    try:
        for world in (live, restarted):
            _play_with_rewinds(world, seed)
        assert restarted.histories == live.histories, f"seed {seed}"
        assert restarted.drafts == live.drafts, f"seed {seed}"
        assert (restarted.values, restarted.status) == (live.values, live.status), f"seed {seed}"
        return _check_lineage(live)
    finally:
        live.discard()
        restarted.discard()


def _play_with_rewinds(world: World, seed: int) -> None:
    pick, choose = random.Random(f"rewinding/{seed}"), shuffled(f"{seed}/rewinding")
    world.start()
    for _ in range(pick.randint(1, 3)):
        for _ in range(pick.randint(0, 12)):
            if not world.ended and world.waiting:
                world.deliver(*choose(world.waiting))
        execution = pick.randint(1, len(world.histories))
        to_event = pick.choice(cuts(world.histories[execution - 1]))
        before = world.values_after.get((execution, to_event))
        is_answered = not isinstance(world.histories[execution - 1][to_event - 1], INCOMING)
        world.rewind(to_event, execution)
        if before is not None and is_answered:
            assert world.values == before, f"seed {seed}"
    play(world, choose)


def _check_lineage(world: World) -> int:
    """Every kept event is where it was, and belongs to the execution that recorded it first."""
    kept = 0
    for events in world.histories:
        started = events[0]
        assert isinstance(started, OrchestrationStarted)
        source = started.copied_from
        if source is None:
            continue
        before = world.histories[source.execution - 1]
        assert events[1 : source.event] == before[1 : source.event]
        first = before[0]
        assert isinstance(first, OrchestrationStarted)
        for number in range(2, source.event + 1):
            assert started.origin(number) == first.origin(number)
        assert started.origin(source.event + 1) == started.execution
        kept += source.event
    return kept
