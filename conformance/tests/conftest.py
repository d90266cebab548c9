"""Every module of broken providers has one test, run for each of the module's broken providers."""

import pytest
from perdure_conformance.broken_providers import Broken
from perdure_conformance.comparison import state_machine


@pytest.fixture(autouse=True)
def _soon_simple_enough(monkeypatch):
    """A broken provider's disagreement with the model need not be made simple to be one."""
    monkeypatch.setattr(state_machine, "SIMPLIFYING", 0.2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "broken" not in metafunc.fixturenames:
        return
    cases = [
        pytest.param(value, clause, id=f"{value.name}-{clause}")
        for value in vars(metafunc.module).values()
        if isinstance(value, Broken)
        for clause in value.clauses
    ]
    metafunc.parametrize(("broken", "clause"), cases)
