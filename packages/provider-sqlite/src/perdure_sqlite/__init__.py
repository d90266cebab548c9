"""The SQLite provider of Perdure: durable storage in one file, the default for a single machine.

Each room uses only those above it:

- `_options`: the options in a `sqlite://` URL
- `_schema`: tables, indexes and migrations
- `_file`: opening, creating and guarding the file, and translating the driver's errors
- `_sql`: every statement, and the records that its rows become
- `_writes`: group commit; one transaction and one fsync for many operations
- `_reads`: reads beside the writer, and checked pages of histories
- `_operations`: what each writing method does to the tables, inside a transaction
- `_transactions`: transactions in which activities write
- `_waiting`: waits for work and for changes, also for those that other processes commit
- `_admin`, `_open_file`, `_provider`: the methods of the contract on an open file
- `_bind`: providers on a connection of the application, in its transaction
- `_testing`: fault injection and the backend for the conformance suite
- `_plugin`: what the package declares to Perdure

`SQLiteProvider` and `bind` are imported on first use, so that looking at the plugin loads no driver.
"""

from typing import TYPE_CHECKING

from perdure_sqlite._options import SQLiteOptions

if TYPE_CHECKING:
    from perdure_sqlite._bind import bind
    from perdure_sqlite._provider import SQLiteProvider

__all__ = ["SQLiteOptions", "SQLiteProvider", "bind"]


def __getattr__(name: str) -> object:
    if name == "bind":
        from perdure_sqlite._bind import bind

        return bind
    if name == "SQLiteProvider":
        from perdure_sqlite._provider import SQLiteProvider

        return SQLiteProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
