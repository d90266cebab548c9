"""The state machine: the provider and the model get every call and must answer alike.

Calls that overlap may do what `overlaps` allows. After each example everything that can be seen is
compared, through another provider object.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

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
from perdure_conformance.comparison.overlaps import Exchange, may_overlap, states_after
from perdure_conformance.comparison.requests import Request, ask, asked_token
from perdure_conformance.comparison.states import copy_of
from perdure_conformance.comparison.visible import first_difference, visible
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.model import ModelProvider, Store

T = TypeVar("T")

EXAMPLES = 60
STEPS = 25
SEED = 4
"""The same for everyone, so that a run of the suite makes the same calls as the one before."""

LONGEST = 20.0
"""Real seconds after which no further example begins; slow storages get fewer examples."""
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
    simplest: tuple[int, int, str] | None = None
    """The number of its steps, the length of its text, and the text."""
    over: bool = False

    def add(self, steps: Sequence[str], text: str) -> None:
        """Keep this disagreement if it is the simplest."""
        if self.simplest is None:
            self.deadline = time.monotonic() + SIMPLIFYING
        found = (len(steps), len(text), text)
        self.simplest = found if self.simplest is None else min(self.simplest, found)

    def check_deadline(self) -> None:
        """End the search where it has lasted long enough."""
        if time.monotonic() > self.deadline:
            self.over = True
            raise EnoughExamples


class Comparison(RuleBasedStateMachine):
    """One example: a provider, the model, and what the callers know."""

    backend: Backend
    findings: Findings

    def __init__(self) -> None:
        self.findings.check_deadline()
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._trace: list[str] = []
        self._differs = False
        try:
            self._bench: Bench = self._run(
                self._stack.enter_async_context(open_bench(self.backend))
            )
        except ClauseBroken:
            self._runner.close()
            raise
        self._objects: list[Provider] = [self._bench.provider]
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
            raise StorageGone(f"after these calls\n{self._steps()}\nit raised {error!r}") from error
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
        self._trace.append(f"object {through}: {described(request)}")
        found = await ask(self._asked_through(request, through), request)
        wanted = [(await ask(self._model(state), request), state) for state in self._states]
        self._states = [state for answer, state in wanted if answer == found]
        if not self._states:
            answers = [contrasted(found, answer) for answer, _ in wanted]
            raise self._difference("\nor\n".join(dict.fromkeys(answers)))
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
        self._trace.append(f"at once: {described(first)} AND {described(second)}")
        found = await asyncio.gather(
            ask(self._asked_through(first, 0), first), ask(self._asked_through(second, 1), second)
        )
        exchanges = (Exchange(first, found[0]), Exchange(second, found[1]))
        after = await states_after(self._states, exchanges, clock=self._bench.clock)
        if not after:
            raise self._difference(
                f"the provider answered\n  {described(found)}\nand in no order does the model"
                f" answer like that, but one after the other\n  {described(await self._in_turn(first, second))}"
            )
        self._states = after
        await self._compare(self._provider(0))
        self._callers.learn(first, found[0])
        self._callers.learn(second, found[1])

    async def _in_turn(self, first: Request, second: Request) -> Sequence[object]:
        """The answers of the model to one call after the other, in both orders."""
        answers: list[object] = []
        for one, other in ((first, second), (second, first)):
            model = self._model(copy_of(self._states[0]))
            answers.append([await ask(model, one), await ask(model, other)])
        return answers

    @rule(seconds=st.none() | moments, abandon=st.booleans())
    def meanwhile(self, seconds: float | None, abandon: bool) -> None:
        """The clock moves, or a provider object is opened; an old one may be abandoned."""
        if seconds is not None:
            self._trace.append(f"{seconds:g} s pass")
            self._bench.advance(timedelta(seconds=seconds))
        elif len(self._objects) < 4:
            self._trace.append("an object is abandoned" if abandon else "an object is opened")
            self._objects.insert(0, self._run(self._bench.open()))
            if abandon:
                self._objects = self._objects[:1]
                self._callers.repeatable.clear()

    def _difference(self, difference: str) -> ClauseBroken:
        self._differs = True
        text = f"after these calls\n{self._steps()}\n{difference}"
        self.findings.add(self._trace, text)
        return ClauseBroken(text)

    def _steps(self) -> str:
        return "\n".join(f"  {number}. {step}" for number, step in enumerate(self._trace, 1))

    async def _compare(self, provider: Provider) -> None:
        """Keep the states of the model in which all that can be seen is as the provider shows it."""
        capabilities = self.backend.declaration.capabilities
        found = await visible(provider, IDS, capabilities=capabilities)
        differences: list[str] = []
        states: list[Store] = []
        for state in self._states:
            wanted = await visible(self._model(state), IDS, capabilities=capabilities)
            difference = first_difference(found, wanted)
            if difference is None:
                states.append(state)
            else:
                differences.append(difference)
        if not states:
            raise self._difference("\n".join(["the provider differs from the model", *differences]))
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


async def compare_with_model(
    backend: Backend, *, examples: int = EXAMPLES, seed: int = SEED
) -> None:
    """Run the state machine; it raises the simplest disagreement that it finds.

    Another seed makes other calls. It runs in a thread of its own, since each
    example has an event loop of its own.
    """
    findings = Findings(time.monotonic() + LONGEST)
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
        await asyncio.to_thread(run_state_machine_as_test, seeded(seed)(machine), settings=chosen)
    except StorageGone as error:
        raise ClauseBroken(
            "the storage was not available, so the provider could not be compared with the model;"
            f" {error}\n(seed {seed})"
        ) from None
    except (ClauseBroken, EnoughExamples, Flaky):
        if findings.simplest is None and findings.over:
            return
        if findings.simplest is None:
            raise
        raise ClauseBroken(f"{findings.simplest[-1]}\n(seed {seed})") from None
