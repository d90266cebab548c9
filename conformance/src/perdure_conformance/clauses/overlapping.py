"""Two calls at once, at many moments, through two provider objects.

A scene has instances, names and tokens of its own, so that the looks of scenes that share a
namespace never meet. Each preparing call goes to the provider and to a model. Then the two calls are
made, the second one some moments before or after the first, and what the provider shows afterwards
must be what `states_after` allows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Unpack

from perdure.contract import (
    LONGEST_LEASE,
    ActivityCompletion,
    ActivityLease,
    ActivityRequest,
    InstanceState,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewActivity,
    NewInstance,
    Provider,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRequest,
)

from perdure_conformance.bench import Bench
from perdure_conformance.comparison.descriptions import described
from perdure_conformance.comparison.overlaps import Exchange, states_after
from perdure_conformance.comparison.requests import Answer, Request, ask
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.samples import (
    LEASE,
    CommitFields,
    event,
    incarnation_of,
    new_instance,
    result,
)

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


class Scene:
    """One overlap: its instances, its model, and the calls that prepare it."""

    def __init__(self, bench: Bench, number: int) -> None:
        self.bench = bench
        self.number = number
        self.store = Store()
        self.flow = f"flow-{number}"
        self.work_name = f"work-{number}"
        self._tokens = 0

    def id(self, letter: str = "a") -> str:
        """The id of an instance of this scene."""
        return f"{letter}-{self.number}"

    def token(self) -> str:
        """A token that no call has named."""
        self._tokens += 1
        return f"token-{self.number}-{self._tokens}"

    @property
    def model(self) -> ModelProvider:
        """The model that the preparing calls went to."""
        return ModelProvider(self.store, clock=self.bench.clock, description="model")

    async def do(self, *requests: Request) -> None:
        """Make calls one after the other, each of the provider and of the model."""
        for request in requests:
            found = await ask(self.bench.provider, request)
            wanted = await ask(self.model, request)
            if found != wanted:
                raise ClauseBroken(
                    f"{described(request)}: found {described(found)}, expected {described(wanted)}"
                )

    def look(self, token: str | None = None, lease_for: timedelta = LEASE) -> TurnRequest:
        """A look for the turns of this scene."""
        serves = Serves(orchestrations={self.flow: frozenset()})
        return TurnRequest(
            token=token or self.token(), limit=100, lease_for=lease_for, serves=serves
        )

    def look_for_work(
        self, token: str | None = None, lease_for: timedelta = LEASE
    ) -> ActivityRequest:
        """A look for the activities of this scene."""
        names = frozenset({self.work_name})
        return ActivityRequest(
            token=token or self.token(), limit=100, lease_for=lease_for, names=names
        )

    def new(self, letter: str = "a", incarnation: str | None = None) -> NewInstance:
        """An instance of this scene to create."""
        return new_instance(self.id(letter), name=self.flow, incarnation=incarnation)

    def event(self, id: str = "sent", letter: str = "a") -> tuple[Message, ...]:
        """A call that sends an event."""
        return (event(id, self.id(letter)),)

    def work(self, id: str = "job", *, lease: bool = False) -> NewActivity:
        """An activity of this scene to add."""
        return NewActivity(id=id, name=self.work_name, data=b"", lease=lease)

    def held(self, token: str, letter: str = "a") -> TurnLease:
        """A turn lease."""
        return TurnLease(instance=self.id(letter), token=token)

    def held_work(self, token: str, id: str = "job") -> ActivityLease:
        """A lease of an activity of the first instance."""
        return ActivityLease(instance=self.id(), activity=id, token=token)

    def completion(self, token: str, id: str = "job") -> ActivityCompletion:
        """The completion of an activity of the first instance."""
        message = result(f"result-{id}", self.id())
        return ActivityCompletion(lease=self.held_work(token, id), message=message)

    def commit(
        self, token: str, letter: str = "a", /, **fields: Unpack[CommitFields]
    ) -> TurnCommit:
        """A commit of an instance as it is now; it removes the start message."""
        state = self.store.tables.instances[self.id(letter)].state
        commit = TurnCommit(
            id=f"commit-{self.token()}",
            instance=state.instance,
            incarnation=state.incarnation,
            token=token,
            execution=state.execution,
            expected_event=state.last_event,
            events=(b"1",),
            remove=("start",),
        )
        return replace(commit, **fields)

    async def leased(self, *letters: str, lease_for: timedelta = LEASE) -> str:
        """Create these instances and lease them; returns the token."""
        token = self.token()
        created = [self.new(letter) for letter in letters or ("a",)]
        await self.do(*created, self.look(token, lease_for))
        return token

    async def idle(self) -> None:
        """Create an instance, and take its start message away."""
        token = await self.leased()
        await self.do(self.commit(token))

    async def with_work(self, lease_for: timedelta = LEASE) -> tuple[str, str]:
        """An instance whose turn and whose activity are leased; returns both tokens."""
        token, worker = await self.leased(), self.token()
        kept = self.commit(token, add=(self.work(),), keep_for=LEASE)
        await self.do(kept, self.look_for_work(worker, lease_for))
        return token, worker

    def incarnation(self, letter: str = "a") -> str:
        """The incarnation of an instance of this scene."""
        return incarnation_of(self.id(letter))


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
        until = time.perf_counter() + abs(self.seconds)
        while time.perf_counter() < until:  # noqa: ASYNC110 # the loop must not rest
            await asyncio.sleep(0)


Shift = _Steps | _In


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


async def mailbox_of(bench: Bench, instance: str, look: TurnRequest) -> str:
    """What the mailbox of an instance holds, found by waking the instance with another event.

    A message that is there now, and was not delivered, was not lost, but what should have made the
    instance ready was. It says so.
    """
    bench.advance(LONGEST_LEASE + timedelta(seconds=1))
    await bench.send(event("probe", instance))
    turns = {turn.state.instance: turn for turn in await bench.provider.lease_turns(look)}
    if instance not in turns:
        return f"{instance} cannot be leased even after another event and {LONGEST_LEASE}"
    ids = [message.id for message in turns[instance].messages if message.id != "probe"]
    return f"after another event and {LONGEST_LEASE} the mailbox of {instance} holds {ids}"
