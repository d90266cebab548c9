"""A backend that cleans up is asked to, for every namespace of a run, whatever came of the check."""

import asyncio
import logging

import pytest
from perdure_conformance.bench import open_bench
from perdure_conformance.broken_providers import StoreBackend
from perdure_conformance.check import check
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.preflight import find_obstacle
from perdure_conformance.runner import Outcome, judge
from perdure_conformance.stress import Load, measure
from perdure_conformance.stress_workloads import create


class Cleaning(StoreBackend):
    def __init__(self):
        super().__init__()
        self.cleaned = []

    async def clean_up(self, namespace):
        self.cleaned.append(namespace)
        del self._stores[namespace]


@check("TEST-1")
async def opens_two_namespaces(bench):
    """It uses two namespaces."""
    await bench.open(namespace=f"{bench.namespace}-other")


@check("TEST-2")
async def fails(bench):
    """It fails."""
    raise ClauseBroken("so it does")


@pytest.mark.parametrize(
    ("ran", "count", "outcome"),
    [(opens_two_namespaces, 2, Outcome.PASSED), (fails, 1, Outcome.FAILED)],
)
def test_every_namespace_of_a_check_is_cleaned_up_once(ran, count, outcome):
    backend = Cleaning()

    result = judge(ran, backend)

    assert result.outcome is outcome
    assert len(backend.cleaned) == len(set(backend.cleaned)) == count
    assert backend._stores == {}


def test_preflight_and_stress_clean_up():
    backend = Cleaning()

    assert find_obstacle(backend) is None
    asyncio.run(measure(backend, Load(operations=3), [create]))

    assert [name.partition("-")[0] for name in backend.cleaned] == ["check", "stress"]
    assert backend._stores == {}


def test_a_failure_to_clean_up_is_logged_and_judges_nothing(caplog):
    class Fails(StoreBackend):
        async def clean_up(self, namespace):
            raise OSError("no way")

    async def use():
        async with open_bench(Fails()) as bench:
            return bench.namespace

    with caplog.at_level(logging.WARNING, "perdure.conformance"):
        namespace = asyncio.run(use())

    assert caplog.messages == [f"the namespace {namespace} was not cleaned up: OSError('no way')"]
