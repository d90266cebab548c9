"""Two calls at once, at many moments, through two provider objects.

Each overlap has a scene of its own. The two calls are made, the second one some moments before or
after the first, and what the provider shows afterwards must be what `states_after` allows. Where the
backend can hold a call at an access to its storage (`PAUSES`), each call is held at each of its accesses
while the other one is made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from perdure.contract import (
    InstanceState,
    LeasedActivity,
    LeasedTurn,
    Provider,
)

from perdure_conformance.bench import Bench
from perdure_conformance.clauses.scenes import Scene, mailbox_of
from perdure_conformance.clauses.spans import pass_seconds
from perdure_conformance.comparison.descriptions import described
from perdure_conformance.comparison.overlaps import Exchange, states_after
from perdure_conformance.comparison.requests import Answer, Request, ask
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.samples import LEASE
from perdure_conformance.tampering import PAUSES

BRIEF: Final = timedelta(seconds=1)
"""How long a lease lasts that has expired when the two calls begin."""
FEW: Final = 4
"""Moments of a pair at least."""
STEPS: Final = 24
"""Moments by steps of the event loop where these make a difference, half of them before the first call."""
SLOW: Final = 0.001
"""Real seconds: where two calls take longer, no step of the event loop makes a difference."""
SWEEP: Final = 0.06
"""Real seconds in which further moments of a pair are tried, spread over the time that it takes."""
MOST: Final = 240
"""Moments of a pair at most."""
MOST_STEPS: Final = 40
"""Accesses to the storage at which a call is held at most."""
NOTICE: Final = 0.0005
"""Real seconds between two looks whether a call is held."""
LOCKED: Final = 0.05
"""Real seconds after which the other call waits for what the held one has locked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Two calls at once."""

    what: str
    prepare: Callable[[Scene], Awaitable[tuple[Request, Request]]]


async def sweep(bench: Bench, overlaps: Sequence[Overlap]) -> None:
    """Let each two calls overlap at many moments; complain of what no order of them explains."""
    objects = (bench.provider, await bench.open())
    scenes = 0
    for overlap in overlaps:
        began, tried, length = time.perf_counter(), 0, 0.0
        while tried < MOST and (not tried or time.perf_counter() - began < SWEEP):
            shifts = _shifts(tried, length)
            trials = [
                _Trial(overlap.what, Scene(bench, scenes + n), shift)
                for n, shift in enumerate(shifts)
            ]
            scenes += len(shifts)
            length = await _tried(overlap, trials, objects)
            tried += len(trials)
        if PAUSES in bench.backend.declaration.tampering:
            for held in (0, 1):
                scenes += await _held(bench, overlap, objects, held=held, number=scenes)


def _shifts(tried: int, length: float) -> Sequence[Shift]:
    """The next moments: few of a storage that takes long, then further ones over its time."""
    if not tried:
        return [_Steps(n - FEW // 2) for n in range(FEW)]
    if tried == FEW and length < SLOW:
        far = [n - STEPS // 2 for n in range(STEPS)]
        return [_Steps(n) for n in far if not -FEW // 2 <= n < FEW // 2]
    return [_In(length * (2 * (n + tried / MOST) / FEW - 1)) for n in range(FEW)]


@dataclass(frozen=True, slots=True)
class _Steps:
    """So many steps of the event loop after the first call, the second one begins; or before it."""

    number: int

    def __str__(self) -> str:
        return f"the second call began {self.number} steps of the event loop after the first"

    @property
    def is_later(self) -> bool:
        return self.number >= 0

    async def pass_by(self) -> None:
        for _ in range(abs(self.number)):
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class _In:
    """So many seconds after the first call, the second one begins; or before it."""

    seconds: float

    def __str__(self) -> str:
        return f"the second call began {self.seconds * 1e6:.0f} µs after the first"

    @property
    def is_later(self) -> bool:
        return self.seconds >= 0

    async def pass_by(self) -> None:
        await pass_seconds(abs(self.seconds))


@dataclass(frozen=True, slots=True)
class _Held:
    """One of the calls was held at an access to its storage while the other one was made."""

    step: int
    call: int

    def __str__(self) -> str:
        which, other = ("first", "second") if self.call == 0 else ("second", "first")
        return f"the {which} call was held at its access {self.step} while the {other} was made"

    @property
    def is_later(self) -> bool:
        return True

    async def pass_by(self) -> None:
        """It is the pause that shifts."""


Shift = _Steps | _In | _Held


async def _tried(
    overlap: Overlap, trials: Sequence[_Trial], objects: tuple[Provider, Provider]
) -> float:
    """Let the calls overlap at these moments, and look; returns how long the first pair takes."""
    await asyncio.gather(*(trial.prepare(overlap) for trial in trials))
    first, *others = trials
    first.scene.bench.advance(2 * BRIEF)
    began = time.perf_counter()
    await first.run(objects)
    length = time.perf_counter() - began
    if length < SLOW:
        for trial in others:
            await trial.run(objects)
    else:
        # One after the other they would take too long.
        await asyncio.gather(*(trial.run(objects) for trial in others))
    await asyncio.gather(*(trial.look(objects[1]) for trial in trials))
    # Leases that stand tell more of what they hold when they have expired.
    first.scene.bench.advance(LEASE)
    await asyncio.gather(*(trial.look_for_work(objects[0]) for trial in trials))
    return length


async def _held(
    bench: Bench, overlap: Overlap, objects: tuple[Provider, Provider], *, held: int, number: int
) -> int:
    """Hold one of the calls at each of its accesses, one after the other; returns how many it had."""
    for step in range(1, MOST_STEPS + 1):
        trial = _Trial(overlap.what, Scene(bench, number + step - 1), _Held(step, held))
        await trial.prepare(overlap)
        bench.advance(2 * BRIEF)
        reached = await trial.run_held(objects, held=held, step=step)
        await trial.look(objects[1])
        bench.advance(LEASE)
        await trial.look_for_work(objects[0])
        if not reached:
            return step
    return MOST_STEPS


class _Trial:
    """One overlap at one moment."""

    requests: tuple[Request, Request]

    def __init__(self, what: str, scene: Scene, shift: Shift) -> None:
        self.what, self.scene, self.shift = what, scene, shift
        self.states: list[Store] = []

    async def prepare(self, overlap: Overlap) -> None:
        """Make the calls before, and the two requests."""
        self.requests = await overlap.prepare(self.scene)

    async def run(self, objects: tuple[Provider, Provider]) -> None:
        """Make both calls, and keep the states that explain their answers."""

        async def late(provider: Provider, request: Request) -> Answer:
            await self.shift.pass_by()
            return await ask(provider, request)

        first, second = zip(objects, self.requests, strict=True)
        if self.shift.is_later:
            found = await asyncio.gather(ask(*first), late(*second))
        else:
            found = (await asyncio.gather(ask(*second), late(*first)))[::-1]
        await self._judge((found[0], found[1]))

    async def run_held(self, objects: tuple[Provider, Provider], *, held: int, step: int) -> bool:
        """Hold one call at a step while the other one is made; returns whether it had so many."""
        pauses = self.scene.bench.tampering.pauses
        with pauses.pause_at(objects[held], step) as pause:
            waiting = asyncio.ensure_future(ask(objects[held], self.requests[held]))
            while not pause.reached and not waiting.done():
                await asyncio.wait({waiting}, timeout=NOTICE)
            other = asyncio.ensure_future(ask(objects[1 - held], self.requests[1 - held]))
            # It may have to wait for a lock that the held call has.
            await asyncio.wait({other}, timeout=LOCKED)
            pause.go_on()
            found = (await waiting, await other)
            reached = pause.reached
        await self._judge(found if held == 0 else (found[1], found[0]))
        return reached

    async def _judge(self, found: tuple[Answer, Answer]) -> None:
        """Keep the states that explain both answers."""
        exchanges = (Exchange(self.requests[0], found[0]), Exchange(self.requests[1], found[1]))
        clock = self.scene.bench.clock
        self.states = await states_after([self.scene.store], exchanges, clock=clock)
        if not self.states:
            calls = "\n".join(
                f"  {described(each.request)}: {described(each.found)}" for each in exchanges
            )
            raise ClauseBroken(
                f"{self.said}: in no order do the two calls answer like this\n{calls}"
            )

    @property
    def said(self) -> str:
        """Which overlap it was."""
        return f"{self.what} at once, where {self.shift}"

    async def look(self, provider: Provider) -> None:
        """Compare what can be seen and leased with the states that are left."""
        for instance in sorted({name for state in self.states for name in state.tables.instances}):
            await self._compare(
                f"the state of {instance}",
                await provider.read_instance(instance),
                lambda model, instance=instance: model.read_instance(instance),
                instance=instance,
            )
            await self._compare_histories(provider, instance)
        await self.look_for_work(provider)

    async def look_for_work(self, provider: Provider) -> None:
        """Compare what can be leased with the states that are left."""
        for request in (self.scene.look(), self.scene.look_for_work()):
            await self._compare(
                f"leased afterwards by {type(request).__name__}",
                await ask(provider, request),
                lambda model, request=request: ask(model, request),
            )

    async def _compare_histories(self, provider: Provider, instance: str) -> None:
        row = self.states[0].tables.instances.get(instance)
        if row is None:
            return
        incarnation = row.state.incarnation
        for execution in range(1, row.state.execution + 1):

            async def history(of: Provider, execution: int = execution) -> object:
                page = await of.read_history(instance, execution, incarnation=incarnation)
                return tuple(page.events)

            what = f"the history of execution {execution} of {instance}"
            await self._compare(what, await history(provider), history)

    async def _compare(
        self,
        what: str,
        found: object,
        wanted: Callable[[ModelProvider], Awaitable[object]],
        *,
        instance: str | None = None,
    ) -> None:
        """Keep the states of the model that show the same; complain if there is none."""
        clock, left, others = self.scene.bench.clock, list[Store](), list[str]()
        for state in self.states:
            shown = await wanted(ModelProvider(state, clock=clock, description="model"))
            if shown == found:
                left.append(state)
            else:
                others.append(_short(shown))
        if not left:
            allowed = " or ".join(dict.fromkeys(others))
            held = await mailbox_of(
                self.scene.bench, instance or self.scene.id(), self.scene.look()
            )
            raise ClauseBroken(
                f"{self.said}: {what}: found {_short(found)}, expected {allowed}; {held}"
            )
        self.states = left


def _short(value: object) -> str:
    """What was found, without what does not matter."""
    if isinstance(value, frozenset):
        return f"[{', '.join(sorted(map(_short, value)))}]"  # pyright: ignore[reportUnknownArgumentType] # of records
    if isinstance(value, LeasedTurn):
        ids = [message.id for message in value.messages]
        return f"{value.state.instance} at attempt {value.attempt} with messages {ids}"
    if isinstance(value, LeasedActivity):
        return f"{value.id} of {value.instance} at delivery {value.delivery}"
    if isinstance(value, InstanceState):
        return described(value)
    return repr(value)
