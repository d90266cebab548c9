"""The PostgreSQL provider of Perdure: durable storage in a database that many processes share.

Each room uses only those above it:

- `_options`: the options in a `postgresql://` URL
- `_texts`: texts as PostgreSQL can store them
- `_errors`: the driver's errors, translated into errors of the contract
- `_schema`: tables, the functions of the database in SQL, and migrations
- `_database`: connections, and statements that are tried again
- `_statements`: listings and counts, built by SQLAlchemy Core
- `_histories`: the events of an execution as rows, and as one value
- `_rows`, `_calls`: calls of the functions, and the records that their rows become
- `_writes`: groups of writes that share a transaction
- `_batches`, `_leftovers`: small calls that share a statement
- `_waits`, `_signals`: waiting calls, and what other processes tell them
- `_transactions`: transactions in which activities write
- `_looks`, `_heads`: looks for work, and where they begin
- `_opening`, `_admin`, `_provider`: the methods of the contract on an open database
- `_bind`: providers on a connection of the application, in its transaction
- `_testing`: fault injection and the backend for the conformance suite
- `local`, `__main__`: a server for development, and making the schema
- `_plugin`: what the package declares to Perdure

`PostgresProvider` and `bind` are imported on first use, so that looking at the plugin loads no driver.
"""

from typing import TYPE_CHECKING

from perdure_postgres._options import PostgresOptions

if TYPE_CHECKING:
    from perdure_postgres._bind import bind
    from perdure_postgres._provider import PostgresProvider

__all__ = ["PostgresOptions", "PostgresProvider", "bind"]


def __getattr__(name: str) -> object:
    if name == "bind":
        from perdure_postgres._bind import bind

        return bind
    if name == "PostgresProvider":
        from perdure_postgres._provider import PostgresProvider

        return PostgresProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
