"""The runner: every check ends, also on a provider that hangs."""

import asyncio
import logging

import pytest
from perdure_conformance import runner
from perdure_conformance.broken_providers import StoreBackend
from perdure_conformance.check import check
from perdure_conformance.runner import Outcome, judge


def make(body):
    body.__doc__ = "Something is promised."
    return check("TEST-1")(body)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(runner, "TIME_LIMIT", 0.05)
    monkeypatch.setattr(runner, "LAST_PATIENCE", 0.05)


def test_a_check_that_hangs_fails():
    async def hangs(bench):
        await asyncio.Event().wait()

    result = judge(make(hangs), StoreBackend())

    assert result.outcome is Outcome.FAILED
    assert "did not end after 0.05 s" in result.message


def test_a_check_that_cannot_be_cancelled_fails(caplog):
    caplog.set_level(logging.CRITICAL)

    async def hangs_on(bench):
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    result = judge(make(hangs_on), StoreBackend())

    assert result.outcome is Outcome.FAILED
    assert "nor when cancelled" in result.message


def test_a_call_that_ends_as_cancelled_fails():
    async def cancelled(bench):
        raise asyncio.CancelledError

    result = judge(make(cancelled), StoreBackend())

    assert result.outcome is Outcome.FAILED
    assert "the check had not cancelled it" in result.message


def test_an_error_of_the_provider_is_shown_with_its_traceback():
    async def raises(bench):
        raise OSError("disk on fire")

    result = judge(make(raises), StoreBackend())

    assert "Traceback" in result.message
    assert "disk on fire" in result.message


def test_a_check_without_a_promise_is_refused():
    async def silent(bench):
        pass

    with pytest.raises(TypeError, match="no docstring"):
        check("TEST-1")(silent)
