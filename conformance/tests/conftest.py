"""Every module of broken providers has one test, run for each of the module's broken providers."""

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest
from perdure_conformance.broken_providers import (
    Broken,
    BrokenPromise,
    StoreBackend,
    what_catches,
)
from perdure_conformance.check import Check
from perdure_conformance.clauses import overlapping, waiting, waking
from perdure_conformance.comparison import state_machine
from perdure_conformance.model import ModelProvider
from perdure_conformance.scenarios import SCENARIOS, simulation
from perdure_dynamodb.testing.fixtures import dynamodb_endpoint, dynamodb_url
from perdure_postgres.testing.fixtures import postgres_url

__all__ = ["dynamodb_endpoint", "dynamodb_url", "postgres_url"]


@pytest.fixture(autouse=True)
def _soon_enough(monkeypatch, request):
    """A disagreement with the model need not be made simple, and what hangs in memory hangs.

    The real providers get all the time that the suite gives to those of authors.
    """
    if request.path.name in ("test_providers.py", "other_seeds.py"):
        return
    monkeypatch.setattr(state_machine, "SIMPLIFYING", 0.2)
    monkeypatch.setattr(overlapping, "SWEEP", 0.0)
    for module in (waiting, waking):
        monkeypatch.setattr(module, "SHORT", 0.0002)
    monkeypatch.setattr(waiting, "CALM", 0.002)
    monkeypatch.setattr(waiting, "AT_THE_END", 0.02)
    monkeypatch.setattr(waking, "ELSEWHERE", 0.3)


@pytest.fixture
def notices(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[[BrokenPromise, Check], bool]:
    """Tells whether a scenario fails where its promise is broken."""
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(simulation, "LIMIT", timedelta(minutes=3))

    def does_notice(broken: BrokenPromise, scenario: Check) -> bool:
        provider = broken.spoil(monkeypatch) or ModelProvider
        spoiled = Broken(
            name=broken.name,
            clauses=(scenario.id,),
            make=lambda: StoreBackend(provider=provider),
        )
        return what_catches(spoiled, scenario) is not None

    return does_notice


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "broken_promise" in metafunc.fixturenames:
        scenarios = {scenario.id: scenario for scenario in SCENARIOS}
        cases = [
            pytest.param(value, scenarios[number], id=f"{value.name}-{number}")
            for value in vars(metafunc.module).values()
            if isinstance(value, BrokenPromise)
            for number in value.scenarios
        ]
        metafunc.parametrize(("broken_promise", "scenario"), cases)
    if "broken" not in metafunc.fixturenames:
        return
    cases = [
        pytest.param(value, clause, id=f"{value.name}-{clause}")
        for value in vars(metafunc.module).values()
        if isinstance(value, Broken)
        for clause in value.clauses
    ]
    metafunc.parametrize(("broken", "clause"), cases)
