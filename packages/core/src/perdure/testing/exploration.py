"""Exploration: an orchestration is run once for each order in which its results can arrive.

Depth first: a run follows the choices of the run before it up to its last choice that has another
option, takes that, and goes on with the first option each time. So each order is run once. If there
are more orders than the limit, as many again are chosen at random, by a seed.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import orchestration_reference
from perdure.authoring.registry import Registry
from perdure.client.starting import Start
from perdure.errors import InvalidInput, NotRegistered
from perdure.model.message_ids import CANCEL_ID, event_message_id
from perdure.model.payload import encode
from perdure.model.shown import shown
from perdure.model.status import Completed, Failed
from perdure.model.wire import CancelData, EventData, encode_cancel, encode_raised
from perdure.records.instances import Message, MessageKind, NewInstance
from perdure.runtime.activity_call import ActivityCaller
from perdure.runtime.options import RuntimeOptions
from perdure.testing.arrivals import Arrivals
from perdure.testing.fakes import (
    UNSET,
    Fakes,
    fake_definition,
    faked_definition,
    make_fake,
    replace_in,
)

_MOST_ARRIVALS = 500
"""After so many arrivals a run counts as endless."""
_INCARNATION = "0" * 32
"""The same in each run, so that `ctx.random()` and `ctx.uuid4()` are the same, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredOutcome:
    """One way in which the orchestration can end."""

    outcome: Completed | Failed | None
    """None if it does not end: it waits for something that never comes, or goes on and on."""
    effects: object
    """What `effects` returned."""
    orders: int
    """How many of the orders end like this."""
    example: tuple[str, ...]
    """The first of these orders: what arrives, one after the other."""
    note: str = ""
    """Where it stands if it does not end."""

    def __str__(self) -> str:
        how = ", then ".join(self.example) or "nothing arrives"
        count = f"{self.orders} order{'' if self.orders == 1 else 's'}"
        effects = "" if self.effects is None else f" with the effects {self.effects!r}"
        return f"{self._text()}{effects}: {count}, such as {how}"

    def _text(self) -> str:
        if isinstance(self.outcome, Completed):
            return self.outcome.output
        if isinstance(self.outcome, Failed):
            return f"the failure {self.outcome.details.display_message()!r}"
        return f"no end ({self.note})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """What `explore` found; `str` has one line for each outcome."""

    outcomes: tuple[ExploredOutcome, ...]
    """The different outcomes, in the order in which they were found."""
    complete: bool
    """Whether every order was run; False if there are more than the limit."""
    seed: int
    """The seed of the random choices; pass it to get the same ones."""

    @property
    def orders(self) -> int:
        """How many orders were run."""
        return sum(each.orders for each in self.outcomes)

    def raise_if_order_matters(self) -> None:
        """Raise `AssertionError` with an order for each outcome, if there are several outcomes."""
        if len(self.outcomes) > 1:
            raise AssertionError(f"the outcome depends on the order of arrivals\n{self}")

    def __str__(self) -> str:
        lines = [str(each) for each in self.outcomes]
        if not self.complete:
            lines.append(f"not all orders: {self.orders} were run, with seed={self.seed}")
        return "\n".join(lines)


async def explore(
    app: Registry | Iterable[Registry],
    orchestration: Callable[..., Awaitable[object]],
    input: object = None,
    *,
    events: Iterable[tuple[str, object]] = (),
    cancel: bool = False,
    fakes: Fakes | None = None,
    resources: Callable[[], object] | None = None,
    effects: Callable[[Any], object] | None = None,
    limit: int = 1000,
    seed: int = 0,
    order: Sequence[int] | None = None,
) -> Exploration:
    """Run an orchestration in every order in which results, timers and events can arrive.

    `input` is the value of its parameter, or a dictionary by the names of several. Each of
    `events`, a name and its data as a value, arrives once, at any time after the start; with
    `cancel`, so does a request to cancel. Activities are called when their results arrive:
    `fakes` where you give some, and real ones otherwise. Children run too, and what arrives for
    them is part of the order.

    `resources` makes the resources of a run; what `effects` returns of them is part of the outcome.
    If there are more orders than `limit`, as many again are chosen at random, by `seed`.
    With `order`, a list of numbers, only one order is run: each number chooses among what can arrive.

    It runs on the engine alone, without a storage: what a runtime adds, such as the time limits of
    attempts, is left out.
    """
    if limit < 1:
        raise InvalidInput(f"limit {limit} is no number of orders; pass 1 or more")
    registries = (app,) if isinstance(app, Registry) else tuple(app)
    new = _new_instance(orchestration, input)
    caller = ActivityCaller(RuntimeOptions())
    runs = _Runs(
        registries=registries,
        new=new,
        raised=tuple(_messages(new, events, cancel=cancel)),
        fakes=dict(fakes or {}),
        resources=resources,
        effects=effects,
        caller=caller,
    )
    search = _Search(runs, limit, random.Random(seed))  # noqa: S311 # repeatable, not secret
    try:
        if order is None:
            complete = await search.run()
        else:
            await search.run_one(order)
            complete = False
    finally:
        caller.close()
    return Exploration(outcomes=tuple(search.found.values()), complete=complete, seed=seed)


def _new_instance(orchestration: Callable[..., Awaitable[object]], input: object) -> NewInstance:
    reference = orchestration_reference(orchestration)
    if reference is None:
        raise NotRegistered(
            f"{shown(orchestration)} is not registered as an orchestration; decorate it with"
            " @registry.orchestration"
        )
    text = reference.parameters.encode_payload(input, f"orchestration {reference.name!r}")
    start = Start(name=reference.name, input=text, result_type=Any)
    new = start.as_instance(f"{reference.name}-1", None, labels={}, headers={})
    return replace(
        new, incarnation=_INCARNATION, start=replace(new.start, incarnation=_INCARNATION)
    )


def _messages(
    new: NewInstance, events: Iterable[tuple[str, object]], *, cancel: bool
) -> Iterator[Message]:
    for number, (name, value) in enumerate(events, 1):
        text = encode(value, what=f"data of event {name!r}")
        yield Message(
            id=event_message_id(str(number)),
            instance=new.instance,
            kind=MessageKind.EVENT,
            data=encode_raised(EventData(name=name, data=text)),
        )
    if cancel:
        yield Message(
            id=CANCEL_ID,
            instance=new.instance,
            incarnation=new.incarnation,
            kind=MessageKind.CANCEL,
            data=encode_cancel(CancelData(reason="requested by a test")),
        )


@dataclass(slots=True, kw_only=True)
class _Run:
    outcome: Completed | Failed | None = None
    effects: object = None
    labels: list[str]
    chosen: list[int]
    options: list[int]
    """How many there were at each choice."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """Makes one run after the other."""

    registries: tuple[Registry, ...]
    new: NewInstance
    raised: tuple[Message, ...]
    fakes: Fakes
    resources: Callable[[], object] | None
    effects: Callable[[Any], object] | None
    caller: ActivityCaller

    async def run(self, choose: Callable[[int, int], int]) -> _Run:
        """One run; `choose` is called with the number of arrivals so far and that of the options."""
        resources = None if self.resources is None else self.resources()
        arrivals = Arrivals(self._catalog(), resources, self.caller)
        run = _Run(labels=[], chosen=[], options=[])
        arrivals.begin(self.new, self.raised)
        try:
            while options := arrivals.options:
                if len(run.chosen) >= _MOST_ARRIVALS:
                    run.note = f"it goes on after {_MOST_ARRIVALS} arrivals"
                    break
                chosen = choose(len(run.chosen), len(options))
                run.chosen.append(chosen)
                run.options.append(len(options))
                run.labels.append(options[chosen].label)
                await arrivals.arrive(options[chosen])
            run.outcome = arrivals.outcome
            if run.outcome is None and not run.note:
                run.note = "; ".join(map(str, arrivals.waiting))
        finally:
            arrivals.discard()
        run.effects = None if self.effects is None else self.effects(resources)
        return run

    def _catalog(self) -> Catalog:
        catalog = Catalog(self.registries)
        for function, calls in self.fakes.items():
            definition = faked_definition(catalog, function)
            fake = make_fake(definition, returns=UNSET, raises=UNSET, calls=calls)
            replace_in(catalog, fake_definition(definition, fake))
        return catalog


class _Search:
    """Chooses the orders, and groups them by their outcomes."""

    def __init__(self, runs: _Runs, limit: int, randomness: random.Random) -> None:
        self._runs = runs
        self._limit = limit
        self._randomness = randomness
        self._seen: set[tuple[int, ...]] = set()
        self.found: dict[str, ExploredOutcome] = {}

    async def run(self) -> bool:
        """Run all orders, or as many as the limit allows; tells whether these were all."""
        path: list[int] | None = []
        while path is not None:
            if len(self._seen) >= self._limit:
                await self._run_at_random()
                return False
            path = _next_path(await self.run_one(path))
        return True

    async def run_one(self, path: Sequence[int]) -> _Run:
        """Run one order: along the path, and from its end on the first option each time."""
        run = await self._runs.run(lambda step, n: path[step] % n if step < len(path) else 0)
        self._note(run)
        return run

    async def _run_at_random(self) -> None:
        for _ in range(self._limit):
            self._note(await self._runs.run(lambda _, n: self._randomness.randrange(n)))

    def _note(self, run: _Run) -> None:
        order = tuple(run.chosen)
        if order in self._seen:
            return
        self._seen.add(order)
        key = f"{run.outcome and _key(run.outcome)} {run.effects!r}"
        earlier = self.found.get(key)
        self.found[key] = ExploredOutcome(
            outcome=run.outcome,
            effects=run.effects,
            orders=1 if earlier is None else earlier.orders + 1,
            example=tuple(run.labels) if earlier is None else earlier.example,
            note=run.note if earlier is None else earlier.note,
        )


def _next_path(run: _Run) -> list[int] | None:
    """The path to the next order; None after the last."""
    for place in range(len(run.chosen) - 1, -1, -1):
        if run.chosen[place] + 1 < run.options[place]:
            return [*run.chosen[:place], run.chosen[place] + 1]
    return None


def _key(outcome: Completed | Failed) -> str:
    if isinstance(outcome, Completed):
        return f"completed {outcome.output}"
    return f"failed {outcome.details.display_message()}"
