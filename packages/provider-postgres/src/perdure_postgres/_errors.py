"""The driver's errors, translated into errors of the contract.

PostgreSQL's SQLSTATE decides which error is raised and what it advises; where a connection was not
made, there is only a text. The driver's exception becomes the cause of that error.
"""

from __future__ import annotations

from typing import Final

import psycopg
from perdure.errors import ProviderError, StorageCorrupt, StorageFailed, StorageUnavailable

from perdure_postgres._refusals import advice_on, is_unconnected

_STANDBY: Final = "25006"
_LOCK_NOT_HAD: Final = "55P03"
_ROLLED_BACK: Final = frozenset(
    {"40001", "40P01", _LOCK_NOT_HAD, "57014", _STANDBY, "53300", "57P03"}
)
"""Nothing was changed, and the same call may succeed: a serialization failure, a deadlock, a lock not
had in time, a statement not ended in time, a standby after a failover, no connection left, a server
that starts."""
_BROKEN_OFF: Final = frozenset({"57P01", "57P02", "57P05"})
"""The server ended the connection."""
_NO_SETTINGS: Final = ("startup parameter", "command-line options")
"""What poolers say of a connection that asks for settings."""
_OUTDATED: Final = frozenset({"42P01", "42883", "3F000", "42703"})
_ADVICE: Final = {
    "53100": "the server's disk is full; make room",
    "53200": "the server's memory is exhausted; free some",
    "53400": "a limit of the server's configuration was reached; raise it",
    "42501": "the role lacks a grant; see the provider's documentation for those it needs",
    "28000": "the role may not connect; check pg_hba.conf and the user of the URL",
    "28P01": "the password is wrong; check the URL",
    "3D000": "the database does not exist; create it, or name another one in the URL",
}


class DamagedRecord(Exception):
    """A stored record is not one that this package writes."""

    def __init__(self, instance: str, what: str) -> None:
        super().__init__(f"instance {instance!r} is damaged: {what}")


class RowsHeld(StorageUnavailable):
    """Another transaction held a row for longer than the call waits for it; nothing was changed."""


def has_changed_nothing(error: BaseException) -> bool:
    """Whether the call was rolled back, and may succeed if it is made again."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _ROLLED_BACK


def has_no_lock(error: BaseException) -> bool:
    """Whether another transaction held a row for longer than the call waits for it."""
    return isinstance(error, psycopg.Error) and error.sqlstate == _LOCK_NOT_HAD


def is_broken_off(error: BaseException) -> bool:
    """Whether the call may have taken effect without an answer, so that it can be repeated."""
    if isinstance(error, TimeoutError | OSError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError) and advice_on(error) is None
    return state in _BROKEN_OFF or state.startswith("08")


def has_wrong_server(error: BaseException) -> bool:
    """Whether the server only reads, so that a new connection has to find another one."""
    return isinstance(error, psycopg.Error) and error.sqlstate == _STANDBY


def refuses_settings(error: BaseException) -> bool:
    """Whether a pooler refused a connection for the settings that it asked for."""
    return any(words in str(error) for words in _NO_SETTINGS)


def provider_error(error: BaseException, *, storage: str, operation: str) -> ProviderError:
    """The error of the contract for this one, which becomes its cause."""
    state = getattr(error, "sqlstate", None)
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    failure: ProviderError
    if isinstance(error, DamagedRecord):
        failure = StorageCorrupt(
            f"{error} in {storage}; restore it from a backup", operation=operation
        )
    elif has_no_lock(error):
        failure = RowsHeld(
            f"another transaction in {storage} holds what {operation} changes ({reason});"
            " end that transaction, or try again",
            operation=operation,
        )
    elif has_changed_nothing(error) or is_broken_off(error):
        otherwise = ", or check host and port of the URL" if is_unconnected(error) else ""
        failure = StorageUnavailable(
            f"{storage} did not answer ({reason}); try again{otherwise}", operation=operation
        )
    elif state in _OUTDATED:
        failure = StorageFailed(
            f"{storage} lacks a table or a function ({reason}); run"
            " `python -m perdure_postgres migrate URL`",
            operation=operation,
        )
    elif state is not None and state.startswith("XX"):
        failure = StorageCorrupt(
            f"{storage} cannot be read ({reason}); restore it from a backup", operation=operation
        )
    else:
        advice = advice_on(error) or _ADVICE.get(state or "", "see the cause")
        failure = StorageFailed(
            f"{storage} could not be used ({reason}): {advice}", operation=operation
        )
    failure.__cause__ = error
    return failure
