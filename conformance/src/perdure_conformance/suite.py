"""The suite as a pytest class: a subclass names the provider to test.

    class TestAcme(ProviderConformance):
        @pytest.fixture
        def provider_url(self, tmp_path):
            return f"acme:///{tmp_path}/store"

Every check is one test, so an upgrade brings new checks. Each runs in its own event loop inside a
plain test function, so no plugin for asynchronous tests is needed, and none interferes.
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
    """Clauses that the provider does not keep yet, each with the reason.

    They are strict: a clause that passes nevertheless fails the run until you remove it here. A
    provider with expected failures is not conformant.
    """

    left_out: ClassVar[Mapping[str, str]] = {}
    """Families or checks that this class does not run, each with the reason.

    The summary speaks of the others alone, and calls the provider neither conformant nor not.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "test_clause" in vars(cls):
            raise TypeError(
                f"{cls.__name__} overrides test_clause; list the checks that fail in"
                " expected_failures instead"
            )
        strange = set(cls.left_out) - {name for check in ALL_CHECKS for name in names_of(check)}
        if strange:
            raise TypeError(
                f"{cls.__name__}.left_out names {sorted(strange)}, which are no checks or families"
            )
        unknown = set(cls.expected_failures) - {check.id for check in ALL_CHECKS}
        if unknown:
            raise TypeError(
                f"{cls.__name__}.expected_failures names {sorted(unknown)}, which are not clauses"
            )

    @pytest.fixture
    def provider_url(self) -> str:
        """The URL of a storage of the provider, without a namespace."""
        raise NotImplementedError(
            f"{type(self).__name__} has no fixture provider_url; define one that returns the URL"
        )

    @pytest.fixture
    def conformance_backend(self, provider_url: str, request: pytest.FixtureRequest) -> Backend:
        """The backend under test. Override it instead of `provider_url` if there is no URL."""
        # Asking for the declaration opens the storage, so it is asked once.
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
        """The backend, after the preflight.

        If the backend cannot be tested, the first test fails and says why, and the others skip.
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
        """One clause of the contract, or one scenario."""
        why = [self.left_out[name] for name in names_of(check) if name in self.left_out]
        if why:
            result = Result(id=check.id, outcome=Outcome.UNTESTED, message=why[0])
            self._record(record_property, reachable_backend.declaration, result=result)
            pytest.skip(why[0])
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
        """Put a result, or why there is none, into the test's report."""
        suite = type(self).__name__
        carried = Carried(suite=suite, declaration=declaration, result=result, obstacle=obstacle)
        record_property(PROPERTY, packed(carried))

    def _expected(self, result: Result) -> Result:
        """The result, after `expected_failures`."""
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
            message=f"expected to fail ({reason}), and {result.outcome}; remove it from"
            " expected_failures",
        )


def names_of(check: Check) -> tuple[str, str]:
    """The names by which a class may leave a check out."""
    return (check.id, check.family)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A result in a test's report."""

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
