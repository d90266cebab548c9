"""What an operator of the order process does by a program; the operator's guide explains it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import perdure
from perdure import history


def back_up(file: Path, copy: Path) -> None:
    """Copy an SQLite file while workers use it."""
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def restore(copy: Path, file: Path) -> None:
    """Put a copy in the place of the file; no process may have the file open."""
    for name in ("-wal", "-shm"):
        file.with_name(file.name + name).unlink(missing_ok=True)
    copy.replace(file)


async def pack_again(client: perdure.Client, order: str, reason: str) -> None:
    """Let an order that is being packed go back to the event after which the packing began."""
    newest = (await client.list_executions(order))[-1]
    events = await client.read_execution_history(order, newest)
    packing = max(event.event_id for event in events if isinstance(event, history.TimerCreated))
    earlier = [event for event in events if event.event_id < packing]
    answered = max(event.event_id for event in earlier if isinstance(event, history.INCOMING))
    await client.rewind_instance(order, to_event=answered, reason=reason)
