"""The SQLite provider of Perdure: the embedded default, on one file.

- `_options`: what a `sqlite://` URL says
- `_plugin`: what the package declares to Perdure
- `_provider`, `_admin`: the contract's methods
- `_writer`, `_worker`: groups of operations, one transaction and one fsync for each
- `_session`: what an operation works with inside its transaction
- `_turns`, `_activities`, `_commit`, `_post`, `_shelves`: the operations
- `_waits`: waiting for work and for changes, of other processes too
- `_database`, `_migrations`: opening a file
- `_tables`, `_sql`, `_rows`: the schema, the SQL, and what its rows mean
- `_histories`: pages of events, of which none is missing
- `_harness`, `_failing`: back doors for the conformance suite
- `_failures`: the driver's errors in the contract's words

The provider is imported when it is asked for: a plugin that is only looked at loads no driver.
"""

from typing import TYPE_CHECKING

from perdure_sqlite._options import SQLiteOptions

if TYPE_CHECKING:
    from perdure_sqlite._provider import SQLiteProvider

__all__ = ["SQLiteOptions", "SQLiteProvider"]


def __getattr__(name: str) -> object:
    if name == "SQLiteProvider":
        from perdure_sqlite._provider import SQLiteProvider

        return SQLiteProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
