"""The suite as a pytest class: an author subclasses it and says where the provider is.

    class TestAcme(ProviderConformance):
        @pytest.fixture
        def provider_url(self, tmp_path):
            return f"acme:///{tmp_path}/store"

Every check is one test, so new checks come by upgrading. Each runs in an event loop of its own
inside a plain test function: no plugin for asynchronous tests is needed, and none disturbs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from perdure.contract import ProviderUrl
from pydantic import TypeAdapter

from perdure_conformance.backend import Backend, Declaration
from perdure_conformance.catalogue import ALL_CHECKS
from perdure_conformance.check import Check
from perdure_conformance.plugin import CLAUSE, PROPERTY
from perdure_conformance.preflight import UnreachableBackend, find_obstacle, reach_backend
from perdure_conformance.runner import Outcome, Result, judge

_DECLARED = pytest.StashKey[dict[str, Declaration]]()
_REACHED = pytest.StashKey[dict[type, bool]]()


class ProviderConformance:
    """Subclass it, and give the fixture `provider_url` (or `conformance_backend`)."""

    expected_failures: ClassVar[Mapping[str, str]] = {}
    """Clauses that the provider is known not to keep yet, each with the reason.

    They are strict: one that passes after all fails the run, until it is taken out here. A
    provider with any is not conformant.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "test_clause" in vars(cls):
            raise TypeError(
                f"{cls.__name__} overrides test_clause; no check can be overridden, name what"
                " is known to fail in expected_failures"
            )
        unknown = set(cls.expected_failures) - {check.id for check in ALL_CHECKS}
        if unknown:
            raise TypeError(
                f"{cls.__name__}.expected_failures names {sorted(unknown)}, which are no clauses"
            )

    @pytest.fixture
    def provider_url(self) -> str:
        """The URL of a storage of the provider, without a namespace."""
        raise NotImplementedError(
            f"{type(self).__name__} has no fixture provider_url; define one that returns the URL"
        )

    @pytest.fixture
    def conformance_backend(self, provider_url: str, request: pytest.FixtureRequest) -> Backend:
        """The backend under test; override it instead of `provider_url` for what has no URL."""
        # What a provider declares is asked once: each asking opens the storage.
        known = request.config.stash.setdefault(_DECLARED, {})
        scheme = ProviderUrl.parse(provider_url).scheme
        backend = reach_backend(provider_url, known.get(scheme))
        if not isinstance(backend, UnreachableBackend):
            known[scheme] = backend.declaration
        return backend

    @pytest.fixture
    def reachable_backend(
        self, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
    ) -> Backend:
        """The backend, once it is known that checks can tell something about it.

        Where they cannot, the first test fails and says why, and the others are skipped.
        """
        known = request.config.stash.setdefault(_REACHED, {})
        if known.get(type(self)) is False:
            pytest.skip("the provider could not be tested; its first test says why")
        backend: Backend = request.getfixturevalue("conformance_backend")
        if type(self) not in known:
            obstacle = find_obstacle(backend)
            known[type(self)] = obstacle is None
            if obstacle is not None:
                self._record(record_property, backend.declaration, obstacle=obstacle)
                pytest.fail(f"the provider could not be tested: {obstacle}", pytrace=False)
        return backend

    @getattr(pytest.mark, CLAUSE)
    @pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.id)
    def test_clause(
        self,
        check: Check,
        reachable_backend: Backend,
        record_property: Callable[[str, object], None],
    ) -> None:
        """One clause of the contract, or one row of the semantics."""
        result = self._expected(judge(check, reachable_backend))
        self._record(record_property, reachable_backend.declaration, result=result)
        if result.outcome is Outcome.UNSUPPORTED:
            pytest.skip(result.message)
        if result.outcome is Outcome.EXPECTED_FAILURE:
            pytest.xfail(result.message)
        if result.outcome is Outcome.FAILED:
            pytest.fail(f"{check.id}: {check.promise}\n{result.message}", pytrace=False)

    def _record(
        self,
        record_property: Callable[[str, object], None],
        declaration: Declaration,
        *,
        result: Result | None = None,
        obstacle: str | None = None,
    ) -> None:
        """Let a result, or why there is none, travel to whoever reports."""
        suite = type(self).__name__
        carried = Carried(suite=suite, declaration=declaration, result=result, obstacle=obstacle)
        record_property(PROPERTY, packed(carried))

    def _expected(self, result: Result) -> Result:
        """The result, as it counts when a failure was announced."""
        reason = self.expected_failures.get(result.id)
        if reason is None:
            return result
        if result.outcome is Outcome.FAILED:
            return replace(
                result,
                outcome=Outcome.EXPECTED_FAILURE,
                message=f"{reason}\n{result.message}",
            )
        return replace(
            result,
            outcome=Outcome.FAILED,
            message=f"expected to fail ({reason}), and {result.outcome}; take it out of"
            " expected_failures",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A result as it travels in a test's report."""

    suite: str
    declaration: Declaration
    result: Result | None = None
    obstacle: str | None = None
    """Why no check could be run."""


_CARRIED = TypeAdapter(Carried)


def packed(carried: Carried) -> str:
    """A result as text."""
    return _CARRIED.dump_json(carried).decode()


def unpacked(text: str) -> Carried:
    """A result from its text."""
    return _CARRIED.validate_json(text)
