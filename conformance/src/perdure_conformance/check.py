"""A check: one clause of the contract, as an async function that a provider passes or not.

Checks are data. A check raises `ClauseBroken`, or lets the provider's error through, if the
provider breaks the promise; the runner decides what becomes of that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from perdure_conformance.bench import Bench

TestBody = Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A clause and the function that tests it."""

    id: str
    """The id of the clause in `docs/build-on-it/contract.md`."""
    promise: str
    """The promise, in a sentence."""
    run: TestBody
    since: tuple[int, int] = (1, 0)
    """The first contract version with this clause."""
    needs: tuple[str, ...] = ()
    """The capabilities without which the clause does not apply."""
    tampering: str | None = None
    """The kind of tampering without which the clause cannot be tested."""

    @property
    def family(self) -> str:
        """The clause's family: the part of the id before the number."""
        return self.id.rpartition("-")[0]


def check(
    id: str,
    *,
    since: tuple[int, int] = (1, 0),
    needs: str | tuple[str, ...] = (),
    tampering: str | None = None,
) -> Callable[[TestBody], Check]:
    """Make a check of an async function; its docstring is the promise.

    `needs` is one capability or several.
    """
    capabilities = (needs,) if isinstance(needs, str) else needs

    def made(run: TestBody) -> Check:
        promise = " ".join((run.__doc__ or "").split())
        if not promise:
            raise TypeError(f"the check {id} has no docstring; state its promise there")
        return Check(
            id=id, promise=promise, run=run, since=since, needs=capabilities, tampering=tampering
        )

    return made
