"""Making the schema, and checking at open that it fits this package."""

from __future__ import annotations

import json
from typing import Final

import psycopg
from perdure.errors import StorageFailed

from perdure_postgres._schema.migrations import (
    VERSION,
    creation,
    digest,
    functions,
    quoted,
    upgrade,
)

_WRITTEN, _RETIRED = "written functions", "retired functions"
_LOCK: Final = 0x70657264757265  # "perdure"


def read_state_statement(schema: str) -> str:
    """The statement that reads the version of a schema, and the digest of its functions."""
    return f"SELECT * FROM {quoted(schema)}.schema_state()"  # noqa: S608 # quoted


def check_version(found: int | None, *, schema: str, storage: str) -> None:
    """Raise unless this package can work with the schema."""
    if found is None:
        raise StorageFailed(
            f"{storage} has no schema {schema!r} of Perdure; run"
            " `python -m perdure_postgres migrate URL`, or open it with create=true",
            operation="open",
        )
    if found < VERSION:
        raise StorageFailed(
            f"the schema {schema!r} of {storage} has version {found}, and this perdure-postgres"
            f" needs {VERSION}; run `python -m perdure_postgres migrate URL`",
            operation="open",
        )


async def migrate(connection: psycopg.AsyncConnection[tuple[object, ...]], schema: str) -> int:
    """Make the schema or bring it up to date, in one transaction; returns the version before.

    Functions that this package does not have any more stay until the next migration: processes of
    the version before may still call them. Functions of others in the schema are left alone.
    """
    async with connection.transaction():
        # One process at a time; the lock goes with the transaction, also behind a pooler.
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        kept = await _read_meta(connection, schema)
        found = int(kept.get("version", "0"))
        if found > VERSION or (found, kept.get("functions")) == (VERSION, digest()):
            return found
        statements = list(upgrade(schema, found) if found else creation(schema))
        statements += functions(schema)
        for statement in statements:
            await connection.execute(statement.encode())
        written = await _read_written(connection, schema)
        before, retired = (_listed(kept, key) for key in (_WRITTEN, _RETIRED))
        for signature in sorted(retired - written):
            await connection.execute(f"DROP FUNCTION IF EXISTS {signature}".encode())
        noted = {
            "version": str(VERSION),
            "functions": digest(),
            _WRITTEN: json.dumps(sorted(written)),
            _RETIRED: json.dumps(sorted(before - written)),
        }
        for key, value in noted.items():
            await connection.execute(
                f"INSERT INTO {quoted(schema)}.meta VALUES (%s, %s)"  # noqa: S608 # quoted
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value".encode(),
                (key, value),
            )
        await connection.execute(
            f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {quoted(schema)} FROM PUBLIC".encode()
        )
    return found


async def _read_written(
    connection: psycopg.AsyncConnection[tuple[object, ...]], schema: str
) -> set[str]:
    """The functions that this transaction has written; the schema comes first on the path."""
    cursor = await connection.execute(
        "SELECT oid::regprocedure::text FROM pg_proc"
        " WHERE pronamespace = %s::regnamespace AND xmin = pg_current_xact_id()::xid",
        (quoted(schema),),
    )
    return {str(signature) for (signature,) in await cursor.fetchall()}


def _listed(kept: dict[str, str], key: str) -> set[str]:
    return set(json.loads(kept.get(key, "[]")))


async def _read_meta(
    connection: psycopg.AsyncConnection[tuple[object, ...]], schema: str
) -> dict[str, str]:
    cursor = await connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL", (f"{quoted(schema)}.meta",)
    )
    [(exists,)] = await cursor.fetchall()
    if not exists:
        return {}
    cursor = await connection.execute(
        f"SELECT key, value FROM {quoted(schema)}.meta".encode()  # noqa: S608 # quoted
    )
    return {str(key): str(value) for key, value in await cursor.fetchall()}
