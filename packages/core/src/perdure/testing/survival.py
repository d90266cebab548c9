"""Survival: an orchestration is run again and again, with a crash at each of its commits.

A run without a crash is the reference. Then one run after the other crashes at the first commit,
at the second, and so on, once before the commit takes effect and once after it; first with
executions kept in memory, then with each rebuilt from its history. The commits of children and the
stored results of activities are among them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from perdure.authoring.functions import orchestration_reference
from perdure.authoring.registry import Registry
from perdure.client.handle import Handle
from perdure.errors import InvalidInput, NotRegistered, PerdureError
from perdure.history import Event
from perdure.model.settings import require
from perdure.model.shown import shown
from perdure.model.status import Completed, Failed
from perdure.providers.loader import ProviderOpener, find_provider
from perdure.testing.fakes import Fakes
from perdure.testing.proof_stage import Crash, CrashPlan, CrashSite, ProofStage
from perdure.testing.stage import Stage

Script: TypeAlias = Callable[[Stage, Handle[Any]], Awaitable[object]]
"""What happens to the instance from outside, after its start: events, cancellations, time."""

_MOST_COMMITS = 10_000


class NotSurvived(PerdureError, AssertionError):
    """A crash makes a difference. The message says which, where the crash was, and the history."""

    def __init__(self, message: str, crashes: tuple[CrashSite, ...]) -> None:
        super().__init__(message)
        self.crashes = crashes
        """Where the crashes of the run were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """What `survive` has run."""

    runs: int
    """How many runs had a crash, and ended like the run without one."""
    outcome: Completed | Failed
    """How the orchestration ends."""
    effects: object
    """What `effects` returned."""


async def survive(
    app: Registry | Iterable[Registry],
    orchestration: Callable[..., Awaitable[object]],
    input: object = None,
    *,
    fakes: Fakes | None = None,
    script: Script | None = None,
    resources: Callable[[], object] | None = None,
    effects: Callable[[Any], object] | None = None,
    crashes: Sequence[Crash] | None = None,
) -> Survival:
    """Run an orchestration with a crash at every commit, and compare with a run without one.

    In each run, every instance must end as in the run without a crash, `effects` must return
    something equal, and no activity may be called more than once more. `input` is the value of the
    orchestration's parameter, or a dictionary by the names of several.

    `resources` makes the resources of a run, and `effects` is called with them at its end: return
    what must not happen twice, such as the bookings of a bank. `script(stage, handle)` raises
    events, cancels, or moves time, as a test does after `stage.start`; it is called in each run.
    `fakes` are made again for each run.

    With `crashes`, only one run with these crashes is made, one after the other, for each kind of
    memory. A crash that a run does not come to does not happen.

    Raises `NotSurvived` at the first run that differs, and whatever the run without a crash raises.
    """
    proof = _Proof(
        # Found once for all runs, because the search for an installed package takes milliseconds.
        storage=find_provider("memory://"),
        registries=(app,) if isinstance(app, Registry) else tuple(app),
        orchestration=orchestration,
        input=input,
        fakes=dict(fakes or {}),
        script=script,
        resources=resources or _none,
        effects=effects or _nothing,
    )
    reference = await proof.run((), cached=True)
    runs = 0
    for cached in (True, False):
        if crashes is None:
            runs += await proof.crash_everywhere(reference, cached=cached)
        else:
            await proof.crash(reference, tuple(require_crashes(crashes)), cached=cached)
            runs += 1
    return Survival(
        runs=runs, outcome=reference.outcomes[proof.instance], effects=reference.effects
    )


def require_crashes(crashes: Sequence[Crash]) -> Sequence[Crash]:
    """The crashes, checked; raises `InvalidInput`."""
    for crash in crashes:
        require(crash, Crash, "crashes", 'pass Crash(3, "before")')
        if crash.commit < 1 or crash.when not in ("before", "after"):
            raise InvalidInput(
                f"{crash} is no crash; count commits from 1, and say 'before' or 'after'"
            )
    return crashes


def _none() -> None:
    return None


def _nothing(resources: object) -> object:
    del resources
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What a run came to."""

    outcomes: Mapping[str, Completed | Failed]
    effects: object
    calls: Mapping[tuple[str, str], int]
    keys: Mapping[tuple[str, str], int]
    plan: CrashPlan
    history: Sequence[Event] = ()
    problem: str = ""
    """What the script or a wait raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    storage: ProviderOpener
    registries: tuple[Registry, ...]
    orchestration: Callable[..., Awaitable[object]]
    input: object
    fakes: Fakes
    script: Script | None
    resources: Callable[[], object]
    effects: Callable[[Any], object]

    @property
    def name(self) -> str:
        reference = orchestration_reference(self.orchestration)
        if reference is None:
            raise NotRegistered(
                f"{shown(self.orchestration)} is not registered as an orchestration; decorate it"
                " with @registry.orchestration"
            )
        return reference.name

    @property
    def instance(self) -> str:
        return f"{self.name}-1"

    async def crash_everywhere(self, reference: _Run, *, cached: bool) -> int:
        """Crash before and after each commit; returns how many runs that took."""
        runs = 0
        for commit in range(1, _MOST_COMMITS):
            for when in ("before", "after"):
                run = await self.crash(reference, (Crash(commit, when),), cached=cached)
                if not run.plan.sites:
                    return runs
                runs += 1
        raise InvalidInput(
            f"{self.name!r} makes more than {_MOST_COMMITS} commits; pass an input that needs fewer"
        )

    async def crash(self, reference: _Run, crashes: tuple[Crash, ...], *, cached: bool) -> _Run:
        """One run with these crashes; raises `NotSurvived`."""
        run = await self.run(crashes, cached=cached, reference=reference)
        problem = run.problem or _difference(reference, run)
        if problem:
            raise NotSurvived(self._report(problem, run, cached=cached), tuple(run.plan.sites))
        return run

    async def run(
        self, crashes: tuple[Crash, ...], *, cached: bool, reference: _Run | None = None
    ) -> _Run:
        """One run; compared with the reference, an instance of it that does not end is a problem."""
        plan, resources = CrashPlan(crashes), self.resources()
        stage = ProofStage(
            *self.registries,
            storage=self.storage,
            resources=resources,
            plan=plan,
            cached=cached,
        )
        problem = ""
        async with stage:
            for function, calls in self.fakes.items():
                stage.fake(function, calls=calls)
            handle = await stage.client.start_orchestration(self.instance, self.name, self._text())
            try:
                if self.script is not None:
                    await self.script(stage, handle)
                await handle.wait()
                for instance in () if reference is None else reference.outcomes:
                    await stage.client.wait_for_orchestration(instance)
            except Exception as error:
                if reference is None:
                    raise
                problem = f"{type(error).__name__}: {error}"
            await stage.settle()
            found = _Run(
                outcomes=await stage.outcomes(),
                effects=self.effects(resources),
                calls=dict(stage.calls),
                keys={call: len(keys) for call, keys in stage.keys.items()},
                plan=plan,
                problem=problem,
            )
            where = plan.sites[-1].instance if plan.sites else self.instance
            return replace(found, history=await stage.history(where))

    def _text(self) -> str:
        reference = orchestration_reference(self.orchestration)
        assert reference is not None  # noqa: S101 # its name was asked for
        return reference.parameters.encode_payload(self.input, f"orchestration {self.name!r}")

    def _report(self, problem: str, run: _Run, *, cached: bool) -> str:
        lines = [f"orchestration {self.name!r} does not survive every crash: {problem}"]
        lines += map(str, run.plan.sites)
        if not cached:
            lines.append("every execution was rebuilt from its history for each turn")
        if run.plan.sites:
            site = run.plan.sites[-1]
            lines.append(f"history of {site.instance!r}:")
            lines += _history(run.history, site)
        return "\n  ".join(lines)


def _difference(reference: _Run, run: _Run) -> str:
    """How a run differs from the reference; empty if it does not."""
    for instance, outcome in reference.outcomes.items():
        ended = run.outcomes[instance]
        if _text_of(outcome) != _text_of(ended):
            return (
                f"{instance!r} ends with {_text_of(ended)}, and without the crash with"
                f" {_text_of(outcome)}"
            )
    if reference.effects != run.effects:
        return f"the effects are {run.effects!r}, and without the crash {reference.effects!r}"
    for call, count in run.calls.items():
        name, given = call
        if call not in reference.calls:
            return f"activity {name!r} is called with {given}, which no other run does"
        most = reference.calls[call] + max(len(run.plan.sites), 1) * reference.keys[call]
        if count > most:
            return f"activity {name!r} is called {count} times with {given}, and {most} are due"
    return ""


def _text_of(outcome: Completed | Failed) -> str:
    if isinstance(outcome, Completed):
        return outcome.output
    return f"the failure {outcome.details.display_message()!r}"


def _history(events: Sequence[Event], site: CrashSite) -> list[str]:
    lines = [str(event) for event in events]
    if site.last_event is not None:
        place = site.last_event + (len(site.events) if site.crash.when == "after" else 0)
        lines.insert(place, "      -- the crash --")
    return lines
