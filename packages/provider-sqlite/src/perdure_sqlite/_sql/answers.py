"""Statements about what a repeated commit answers."""

from __future__ import annotations

from typing import Final

from sqlalchemy import insert, select

from perdure_sqlite._schema.ids_in_use import ids_in_use
from perdure_sqlite._sql.render import given, render

KEEP_IDS_IN_USE: Final = render(
    insert(ids_in_use).prefix_with("OR REPLACE"), "instance", "last_commit", "ids"
)
READ_IDS_IN_USE: Final = render(
    select(ids_in_use.c.ids).where(
        ids_in_use.c.instance == given("instance"), ids_in_use.c.last_commit == given("commit")
    ),
    "instance",
    "commit",
)
