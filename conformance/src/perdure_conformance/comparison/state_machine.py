"""The state machine: the provider and the model get every call and must answer alike.

Calls that overlap may do what `overlaps` allows. After each example everything that can be seen is
compared, through another provider object.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Coroutine, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from perdure.contract import Provider
from perdure.errors import ProviderError

from perdure_conformance.backend import Backend
from perdure_conformance.bench import Bench, open_bench
from perdure_conformance.comparison.callers import IDS, Callers
from perdure_conformance.comparison.descriptions import contrasted, described
from perdure_conformance.comparison.intents import Create, Intent, LeaseTurns, intents
from perdure_conformance.comparison.overlaps import (
    Exchange,
    may_overlap,
    order_count,
    orders_after,
)
from perdure_conformance.comparison.programs import Program
from perdure_conformance.comparison.requests import Request, ask, asked_token, method_of
from perdure_conformance.comparison.states import copy_of
from perdure_conformance.comparison.visible import first_difference, visible
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.model import ModelProvider, Store

T = TypeVar("T")

EXAMPLES = 40
STEPS = 25
SEED = 4
"""The same for everyone, so that a run of the suite makes the same calls as the one before."""

LEAST = 30
"""Examples that are compared however slow the storage is."""
LONGEST = 20.0
"""Real seconds after which no further example begins, once there were enough."""
SIMPLIFYING = 60.0
"""Real seconds for simplifying a disagreement."""

moments = st.sampled_from((0.001, 1.0, 1.0, 5.0, 30.0))


class EnoughExamples(BaseException):
    """Ends the search for examples, or for simpler ones. Hypothesis must not take it for a failure."""


class StorageGone(BaseException):
    """Ends the search: the storage is not available, which is no disagreement with the model."""


@dataclass(slots=True)
class Findings:
    """The simplest disagreement of a run, and until when examples are tried."""

    deadline: float
    least: int
    """So many examples are compared whatever the time."""
    examples: int = 0
    """How many were begun, simplifications included."""
    simplest: tuple[int, int, str] | None = None
    """The number of its steps, the length of its text, and the text."""
    over: bool = False

    def add(self, steps: Sequence[str], text: str) -> None:
        """Keep this disagreement if it is the simplest."""
        if self.simplest is None:
            self.deadline = time.monotonic() + SIMPLIFYING
        found = (len(steps), len(text), text)
        self.simplest = found if self.simplest is None else min(self.simplest, found)

    def begin_example(self) -> None:
        """Count an example, or end the search where it has lasted long enough."""
        enough = self.examples >= self.least or self.simplest is not None
        if enough and time.monotonic() > self.deadline:
            self.over = True
            raise EnoughExamples
        self.examples += 1


class Comparison(RuleBasedStateMachine):
    """One example: a provider, the model, and what the callers know."""

    backend: Backend
    findings: Findings

    def __init__(self) -> None:
        self.findings.begin_example()
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._program = Program()
        self._differs = False
        try:
            self._bench: Bench = self._run(
                self._stack.enter_async_context(open_bench(self.backend))
            )
        except ClauseBroken:
            self._runner.close()
            raise
        self._objects: list[Provider] = [self._bench.provider]
        self._names: dict[Provider, str] = {self._bench.provider: "p1"}
        self._through: dict[str, Provider] = {}
        """By token of a look for work, the object that was asked."""
        self._states = [Store()]
        """The states that the model may be in: calls at once may leave more than one."""
        self._callers = Callers(self._bench.clock, self.backend.declaration.capabilities)

    def _run(self, work: Coroutine[object, object, T]) -> T:
        """The result of the work; every error breaks the promise, and is kept as a finding."""
        try:
            return self._runner.run(work)
        except ClauseBroken:
            raise
        except ProviderError as error:
            if not error.retryable:
                raise self._raised(error) from error
            self._differs = True
            raise StorageGone(
                f"in this program\n{self._program.text()}\nit raised {error!r}"
            ) from error
        except Exception as error:
            raise self._raised(error) from error

    def _raised(self, error: Exception) -> ClauseBroken:
        return self._difference(f"the provider raised {error!r}")

    def _model(self, store: Store) -> ModelProvider:
        return ModelProvider(store, clock=self._bench.clock, description="model")

    def _provider(self, number: int) -> Provider:
        return self._objects[number % len(self._objects)]

    def _asked_through(self, request: Request, number: int) -> Provider:
        """The provider object for a call: a token is asked under again through the same one."""
        token, provider = asked_token(request), self._provider(number)
        return provider if token is None else self._through.setdefault(token, provider)

    @initialize(both=st.booleans())
    def something_runs(self, both: bool) -> None:
        """Create and lease an instance or two, which most examples need."""
        for intent in (Create(instance=0), *([Create(instance=1)] if both else [])):
            self.calls([intent], 0)
        self.calls([LeaseTurns()], 0)

    @rule(asked=st.lists(intents, min_size=1, max_size=8), through=st.integers(0, 1))
    def calls(self, asked: Sequence[Intent], through: int) -> None:
        """Calls, one after the other, to one of the provider objects."""
        for intent in asked:
            request = self._callers.request(intent)
            if request is not None:
                self._run(self._one_call(request, through))

    async def _one_call(self, request: Request, through: int) -> None:
        provider = self._asked_through(request, through)
        self._program.call(self._names[provider], request)
        found = await ask(provider, request)
        if isinstance(found, str):
            self._program.refused()
        wanted = [(await ask(self._model(state), request), state) for state in self._states]
        self._states = [state for answer, state in wanted if answer == found]
        if not self._states:
            answers = [contrasted(found, answer) for answer, _ in wanted]
            text = "\nor\n".join(dict.fromkeys(answers))
            raise self._difference(f"to the last call, {text}")
        self._callers.learn(request, found)

    @rule(first=intents, second=intents)
    def two_calls_at_once(self, first: Intent, second: Intent) -> None:
        """Two calls at once, to two provider objects where there are two."""
        requests = [self._callers.request(first), self._callers.request(second)]
        match [request for request in requests if request is not None]:
            case [one, other] if may_overlap(one, other):
                self._run(self._two_calls(one, other))
            case [one, *_]:
                self._run(self._one_call(one, 0))
            case _:
                pass

    async def _two_calls(self, first: Request, second: Request) -> None:
        one, other = self._asked_through(first, 0), self._asked_through(second, 1)
        self._program.calls_at_once((self._names[one], first), (self._names[other], second))
        found = await asyncio.gather(ask(one, first), ask(other, second))
        exchanges = (Exchange(first, found[0]), Exchange(second, found[1]))
        clock = self._bench.clock
        outcomes = await orders_after(self._states, exchanges, clock=clock)
        if not outcomes:
            count = order_count(self._states, exchanges, clock=clock)
            raise self._difference(
                f"to the last two calls, which overlap, the provider answered\n{answers_of(exchanges)}\n"
                f"and in none of the {count} orders of their steps does the model answer like that;"
                f"\none after the other it answers\n{await self._in_turn(first, second)}"
            )
        self._states = [outcome.state for outcome in outcomes]
        orders = [" < ".join(outcome.order) for outcome in outcomes]
        await self._compare(self._provider(0), orders)
        self._callers.learn(first, found[0])
        self._callers.learn(second, found[1])

    async def _in_turn(self, first: Request, second: Request) -> str:
        """The answers of the model to one call after the other, in both orders."""
        answers: list[str] = []
        for one, other in ((first, second), (second, first)):
            model = self._model(copy_of(self._states[0]))
            made = (Exchange(one, await ask(model, one)), Exchange(other, await ask(model, other)))
            answers.append(answers_of(made))
        return "\nor\n".join(answers)

    @rule(seconds=st.none() | moments, abandon=st.booleans())
    def meanwhile(self, seconds: float | None, abandon: bool) -> None:
        """The clock moves, or a provider object is opened; an old one may be abandoned."""
        if seconds is not None:
            self._program.advance(seconds)
            self._bench.advance(timedelta(seconds=seconds))
        elif len(self._objects) < 4:
            opened = self._run(self._bench.open())
            name = self._names[opened] = f"p{len(self._names) + 1}"
            self._program.open(name, abandoned=abandon)
            self._objects.insert(0, opened)
            if abandon:
                self._objects = self._objects[:1]
                self._callers.repeatable.clear()

    def _difference(self, difference: str) -> ClauseBroken:
        self._differs = True
        text = f"in this program\n{self._program.text()}\n{difference}"
        self.findings.add(self._program.lines, text)
        return ClauseBroken(text)

    async def _compare(self, provider: Provider, orders: Sequence[str] = ()) -> None:
        """Keep the states of the model in which all that can be seen is as the provider shows it.

        `orders` are those of the steps of two calls, by which the states came about.
        """
        capabilities = self.backend.declaration.capabilities
        found = await visible(provider, IDS, capabilities=capabilities)
        differences: list[str] = []
        states: list[Store] = []
        for number, state in enumerate(self._states):
            wanted = await visible(self._model(state), IDS, capabilities=capabilities)
            difference = first_difference(found, wanted)
            if difference is None:
                states.append(state)
            else:
                order = f"in the order {orders[number]}\n    " if orders else ""
                differences.append(f"  {order}{difference}")
        if not states:
            told = (
                "all answers are those of the model, but the storage shows something else"
                f" (states of the model that fit the answers: {len(differences)})"
            )
            raise self._difference("\n".join([told, *differences]))
        self._states = states

    def teardown(self) -> None:
        """Compare everything, unless a call has shown a difference already, then close."""
        try:
            if not self._differs:
                self._run(self._compare_at_last())
        finally:
            try:
                self._run(self._stack.aclose())
            finally:
                self._runner.close()

    async def _compare_at_last(self) -> None:
        await self._compare(await self._bench.open())


def answers_of(exchanges: tuple[Exchange, Exchange]) -> str:
    """Two calls with their answers, a line each."""
    return "\n".join(
        f"  {method_of(exchange.request)}: {described(exchange.found)}" for exchange in exchanges
    )


def without_constants_of_modules() -> AbstractContextManager[object]:
    """Within it, Hypothesis draws the same values whatever modules are loaded.

    Otherwise it also draws numbers and texts that it finds in the modules of a project, and the calls
    depend on the tests that ran before. No setting ends that; versions without this function never
    do it.
    """
    try:
        module = importlib.import_module("hypothesis.internal.conjecture.providers")
        constants: object = module._get_local_constants()
    except (ImportError, AttributeError):
        return nullcontext()
    none = type(constants)()
    return patch.multiple(module, _get_local_constants=lambda: none, CONSTANTS_CACHE={})


async def compare_with_model(
    backend: Backend, *, examples: int = EXAMPLES, seed: int = SEED
) -> int:
    """Run the state machine, and return how many examples it compared.

    It raises the simplest disagreement that it finds. Another seed makes other calls. It runs in a
    thread of its own, since each example has an event loop of its own.
    """
    findings = Findings(time.monotonic() + LONGEST, min(LEAST, examples))
    machine = type("Comparison", (Comparison,), {"backend": backend, "findings": findings})
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=(
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
        ),
    )
    try:
        with without_constants_of_modules():
            await asyncio.to_thread(
                run_state_machine_as_test, seeded(seed)(machine), settings=chosen
            )
    except StorageGone as error:
        raise ClauseBroken(
            "the storage was not available, so the provider could not be compared with the model;"
            f" {error}\n(seed {seed})"
        ) from None
    except (ClauseBroken, EnoughExamples, Flaky):
        if findings.simplest is None and findings.over:
            return findings.examples
        if findings.simplest is None:
            raise
        raise ClauseBroken(
            f"{findings.simplest[-1]}\n(seed {seed}, the simplest of {findings.examples} examples)"
        ) from None
    return findings.examples
