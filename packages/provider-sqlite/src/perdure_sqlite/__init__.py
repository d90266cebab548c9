"""The SQLite provider of Perdure: durable storage in one file, the default for a single machine.

- `_options`, `_plugin`: the options in a `sqlite://` URL, and what the package declares to Perdure
- `_provider`, `_admin`: the methods of the contract
- `_open_file`: everything that exists while a provider is open
- `_operations`: what each writing method does to the tables, inside a transaction
- `_writes`: group commit; one transaction and one fsync for many operations
- `_reads`: reads beside the writer, and checked pages of histories
- `_waiting`: waits for work and for changes, also for those that other processes commit
- `_file`: opening, creating and guarding the file, and translating the driver's errors
- `_schema`: tables, indexes and migrations
- `_sql`: every statement, and the records that its rows become
- `_testing`: fault injection and the backend for the conformance suite

`SQLiteProvider` is imported on first use, so that looking at the plugin loads no driver.
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
