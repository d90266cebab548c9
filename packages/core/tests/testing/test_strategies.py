"""Strategies for Hypothesis: they find what is wrong, and say so where Hypothesis is missing."""

from __future__ import annotations

import asyncio
import importlib
import sys

import perdure
import pytest
from hypothesis import find, given, settings
from perdure.testing import Crash, NotSurvived, explore, strategies, survive

from .shop import app, charge_card, pay
from .test_exploration import app as quotes
from .test_exploration import first_quote
from .test_survival import Bank, deposit
from .test_survival import app as bank


@pytest.mark.slow
@given(crashes=strategies.crashes())
@settings(max_examples=10, deadline=None)
def test_a_payment_survives_crashes_one_after_the_other(crashes: list[Crash]) -> None:
    fakes = {charge_card: [ConnectionError("busy"), "paid"]}

    asyncio.run(survive(app, pay, 500, fakes=fakes, crashes=crashes))


@pytest.mark.slow
def test_the_simplest_crash_that_shows_a_double_effect_is_found() -> None:
    def shows_it(crashes: list[Crash]) -> bool:
        proof = survive(
            bank, deposit, 5, resources=Bank, effects=lambda it: it.entries, crashes=crashes
        )
        try:
            asyncio.run(proof)
        except NotSurvived:
            return True
        return False

    found = find(
        strategies.crashes(commits=3), shows_it, settings=settings(max_examples=50, deadline=None)
    )

    assert found == [Crash(2, "before")]


def test_the_simplest_order_that_shows_a_dependence_is_found() -> None:
    def ends_otherwise(order: list[int]) -> bool:
        found = asyncio.run(explore(quotes, first_quote, order=order))
        return found.outcomes[0].outcome != perdure.Completed(output='"Ada"')

    assert find(strategies.orders(), ends_otherwise, settings=settings(deadline=None)) == [1]


def test_a_missing_hypothesis_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "perdure.testing.strategies")

    with pytest.raises(ImportError, match="needs hypothesis; install it with `pip install hyp"):
        importlib.import_module("perdure.testing.strategies")
