"""What the application's driver raises, as errors of the contract.

No error is retryable: PostgreSQL aborts the transaction, and only the application can run it again.
The SQLSTATE decides; asyncpg and psycopg both have it at their exceptions.
"""

from __future__ import annotations

from typing import Final

import psycopg
from perdure.errors import ProviderError, StorageCorrupt, StorageFailed, StorageUnavailable

from perdure_postgres._errors import DamagedRecord

_AGAIN: Final = frozenset({"40001", "40P01", "55P03", "57014"})
"""A serialization failure, a deadlock, a lock not had in time, a statement that took too long."""
_MISSING: Final = frozenset({"42P01", "42883", "3F000"})
_ABORTED: Final = "25P02"
_NO_GRANT: Final = "42501"
_READ_ONLY: Final = "25006"


def bound_error(
    error: BaseException, *, storage: str, schema: str, operation: str
) -> ProviderError:
    """The error of the contract for this one, which becomes its cause."""
    if isinstance(error, DamagedRecord):
        failure: ProviderError = StorageCorrupt(
            f"{error}; restore it from a backup", operation=operation
        )
        failure.__cause__ = error
        return failure
    driver, state = _with_state(error)
    reason = str(driver).strip().partition("\n")[0] or type(driver).__name__
    if _may_pass(driver, state):
        failure = StorageUnavailable(
            f"{storage} did not carry out {operation} ({reason}); roll the transaction back, and"
            " run it again",
            operation=operation,
            retryable=False,
        )
    else:
        failure = StorageFailed(
            f"{storage} refused {operation} ({reason}): {_advice(state, schema)}",
            operation=operation,
        )
    failure.__cause__ = error
    return failure


def _may_pass(driver: BaseException, state: str | None) -> bool:
    if state is None:
        return isinstance(driver, psycopg.OperationalError | OSError | TimeoutError)
    return state in _AGAIN or state.startswith(("08", "57P"))


def _advice(state: str | None, schema: str) -> str:
    if state in _MISSING:
        return (
            f"its database has no schema {schema!r} of this version of Perdure; run"
            " `python -m perdure_postgres migrate URL`, or pass schema="
        )
    if state == _ABORTED:
        return "an earlier statement of the transaction failed; roll it back"
    if state == _NO_GRANT:
        return "its role lacks a grant; see `python -m perdure_postgres grants ROLE`"
    if state == _READ_ONLY:
        return "the transaction is read-only; begin one that may write"
    return "see the cause"


def _with_state(error: BaseException) -> tuple[BaseException, str | None]:
    """The driver's own exception, beneath what SQLAlchemy makes of it, and its SQLSTATE."""
    driver: BaseException = getattr(error, "orig", None) or error
    return driver, getattr(driver, "sqlstate", None)
