"""The state machine: every call goes to the provider and to the model, and must end alike.

Two calls that are made at once must end as they would one after the other, in either order.
After each example everything that can be seen is compared, through a provider object that was
opened anew.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from perdure.contract import MANAGEMENT, Provider

from perdure_conformance.backend import Backend
from perdure_conformance.expect import ClauseBroken, expect_equal
from perdure_conformance.lab import Lab, open_lab
from perdure_conformance.model.calls import IDS, Answer, Known, Request, ask
from perdure_conformance.model.described import described
from perdure_conformance.model.intents import Create, Intent, LeaseTurns, intents
from perdure_conformance.reference import ReferenceProvider, Store

T = TypeVar("T")

EXAMPLES = 60
STEPS = 25

LONGEST = 20.0
"""Real seconds after which no further example is begun: slow storages are tried on fewer."""
SIMPLIFYING = 20.0
"""Real seconds that are spent on making a disagreement simpler."""

moments = st.sampled_from((0.001, 1.0, 1.0, 5.0, 30.0))


class EnoughExamples(BaseException):
    """Ends the search for examples, or for simpler ones; no failure, so nothing is made of it."""


@dataclass(slots=True)
class Findings:
    """The simplest disagreement of a run, and until when examples are tried."""

    deadline: float
    simplest: tuple[int, str] | None = None
    over: bool = False

    def add(self, steps: Sequence[str], text: str) -> None:
        """Keep this disagreement if it is the simplest."""
        if self.simplest is None:
            self.deadline = time.monotonic() + SIMPLIFYING
        found = (len(steps), text)
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
        try:
            self._lab: Lab = self._run(self._stack.enter_async_context(open_lab(self.backend)))
        except ClauseBroken:
            self._runner.close()
            raise
        self._objects: list[Provider] = [self._lab.provider]
        self._store = Store()
        self._known = Known(self._lab.clock)

    def _run(self, work: Coroutine[object, object, T]) -> T:
        """The result; whatever else goes wrong breaks the promise as well, and is noted."""
        try:
            return self._runner.run(work)
        except ClauseBroken:
            raise
        except Exception as error:
            text = f"after these calls\n{self._steps()}\nthe provider raised {error!r}"
            self.findings.add(self._trace, text)
            raise ClauseBroken(text) from error

    def _model(self, store: Store) -> ReferenceProvider:
        return ReferenceProvider(store, clock=self._lab.clock, description="model")

    def _provider(self, number: int) -> Provider:
        return self._objects[number % len(self._objects)]

    @initialize(both=st.booleans())
    def something_runs(self, both: bool) -> None:
        """An instance or two, leased: most examples need that much."""
        for intent in (Create(instance=0), *([Create(instance=1)] if both else [])):
            self.calls([intent], 0)
        self.calls([LeaseTurns(token=0)], 0)

    @rule(asked=st.lists(intents, min_size=1, max_size=4), through=st.integers(0, 1))
    def calls(self, asked: Sequence[Intent], through: int) -> None:
        """Calls, one after the other, to one of the provider objects."""
        for intent in asked:
            request = self._known.request(intent)
            if request is not None:
                self._run(self._one_call(request, through))

    async def _one_call(self, request: Request, through: int) -> None:
        self._trace.append(f"object {through}: {described(request)}")
        wanted = await ask(self._model(self._store), request)
        found = await ask(self._provider(through), request)
        if found != wanted:
            raise self._disagreement(found, wanted)
        self._known.learn(request, wanted)

    @rule(first=intents, second=intents)
    def two_calls_at_once(self, first: Intent, second: Intent) -> None:
        """Two calls at once, to two provider objects where there are two."""
        requests = [self._known.request(first), self._known.request(second)]
        asked = [request for request in requests if request is not None]
        if len(asked) == 2:
            self._run(self._two_calls(asked))

    async def _two_calls(self, requests: Sequence[Request]) -> None:
        self._trace.append(f"at once: {described(requests[0])} AND {described(requests[1])}")
        found = await asyncio.gather(
            *(ask(self._provider(place), request) for place, request in enumerate(requests))
        )
        outcomes: list[list[Answer]] = []
        for order in ((0, 1), (1, 0)):
            store = copy.deepcopy(self._store)
            answers: dict[int, Answer] = {}
            for place in order:
                answers[place] = await ask(self._model(store), requests[place])
            outcomes.append([answers[0], answers[1]])
            if found == outcomes[-1] and await self._looks_alike(store):
                self._store = store
                for request, answer in zip(requests, found, strict=True):
                    self._known.learn(request, answer)
                return
        raise self._disagreement(found, outcomes)

    @rule(seconds=moments)
    def time_passes(self, seconds: float) -> None:
        """The clock moves."""
        self._trace.append(f"{seconds:g} s pass")
        self._lab.advance(timedelta(seconds=seconds))

    @rule(abandon=st.booleans())
    def another_object(self, abandon: bool) -> None:
        """A provider object is opened; an old one may be abandoned, as by a crash."""
        if len(self._objects) >= 4:
            return
        self._trace.append("an object is abandoned" if abandon else "an object is opened")
        self._objects.insert(0, self._run(self._lab.open()))
        if abandon:
            self._objects = self._objects[:1]

    def _disagreement(self, found: object, wanted: object) -> ClauseBroken:
        text = (
            f"after these calls\n{self._steps()}\nthe provider answered\n"
            f"  {described(found)}\nand the model\n  {described(wanted)}"
        )
        self.findings.add(self._trace, text)
        return ClauseBroken(text)

    def _steps(self) -> str:
        return "\n".join(f"  {number}. {step}" for number, step in enumerate(self._trace, 1))

    async def _looks_alike(self, store: Store) -> bool:
        """Whether all that can be seen without a lease agrees with this store."""
        try:
            await self._compare(self._provider(0), self._model(store))
        except ClauseBroken:
            return False
        return True

    async def _compare(self, provider: Provider, model: ReferenceProvider) -> None:
        for instance in IDS:
            wanted = await model.read_instance(instance)
            expect_equal(await provider.read_instance(instance), wanted, f"instance {instance}")
            if wanted is None:
                continue
            for execution in range(1, wanted.execution + 1):
                expect_equal(
                    await self._lab.history(
                        instance, execution, incarnation=wanted.incarnation, provider=provider
                    ),
                    await self._lab.history(
                        instance, execution, incarnation=wanted.incarnation, provider=model
                    ),
                    f"history {execution} of {instance}",
                )
        await self._compare_counts(provider, model)

    async def _compare_counts(self, provider: Provider, model: ReferenceProvider) -> None:
        admin, wanted = provider.as_management_capability(), model.as_management_capability()
        if MANAGEMENT not in self.backend.declaration.capabilities or not admin or not wanted:
            return
        expect_equal(await admin.count_queues(), await wanted.count_queues(), "queue depths")
        expect_equal(await admin.count_instances(), await wanted.count_instances(), "counts")

    def teardown(self) -> None:
        """Compare everything, then close."""
        try:
            self._run(self._compare_everything())
        finally:
            try:
                self._run(self._stack.aclose())
            finally:
                self._runner.close()

    async def _compare_everything(self) -> None:
        model = self._model(self._store)
        try:
            await self._compare(await self._lab.open(), model)
        except ClauseBroken as difference:
            raise self._disagreement(str(difference), "otherwise") from None


async def compare_with_model(backend: Backend, *, examples: int = EXAMPLES) -> None:
    """Run the state machine; it raises the simplest disagreement that it finds.

    It runs in a thread of its own, since each example has an event loop of its own.
    """
    findings = Findings(time.monotonic() + LONGEST)
    machine = type("Comparison", (Comparison,), {"backend": backend, "findings": findings})
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=True,
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
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=chosen)
    except (ClauseBroken, EnoughExamples, FlakyStrategyDefinition):
        if findings.simplest is None and findings.over:
            return
        if findings.simplest is None:
            raise
        raise ClauseBroken(findings.simplest[1]) from None
