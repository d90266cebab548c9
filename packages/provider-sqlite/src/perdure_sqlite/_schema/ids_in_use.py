"""Ids that other instances had when a commit would create them, for repeats of that commit.

A repeat gives the answer of the commit, although such an instance may be deleted by then, or an
instance that the commit created may have made way for another. Only a commit that met such ids
writes here. A file that lacks the table gets it when it is opened.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, text
from sqlalchemy.schema import CreateTable

ids_in_use = Table(
    "perdure_ids_in_use",
    # Apart from the tables that a file must have.
    MetaData(),
    # That committed.
    Column("instance", Integer, primary_key=True),
    Column("last_commit", Text, nullable=False),
    # A JSON array.
    Column("ids", Text, nullable=False),
)

_TRIGGER: Final = """
    CREATE TRIGGER IF NOT EXISTS perdure_ids_in_use_removal AFTER DELETE ON perdure_instances
    BEGIN
        DELETE FROM perdure_ids_in_use WHERE instance = OLD.number;
    END
"""


def add_missing_ids_in_use(connection: Connection) -> None:
    """Make the table in a file that lacks it, inside the caller's transaction."""
    connection.execute(CreateTable(ids_in_use, if_not_exists=True))
    connection.execute(text(_TRIGGER))
