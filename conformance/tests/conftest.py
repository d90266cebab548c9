"""Every module of broken providers has one test, run for each of the module's broken providers."""

import pytest
from perdure_conformance.broken import Broken


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
