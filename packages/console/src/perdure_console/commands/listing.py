"""The commands `list`, `queues` and `metrics`: what is in a storage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from perdure import InstanceInfo

from perdure_console.choosing import Choice
from perdure_console.program import DONE, LOOK, command
from perdure_console.session import Session
from perdure_console.texts import duration_in_words, in_utc, state_of

_LARGEST_PAGE = 1000


@command(LOOK, "list")
async def list_instances(
    session: Session,
    choice: Choice,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="So many at most.")
    ] = 50,
    token: Annotated[
        str | None, typer.Option("--token", metavar="TOKEN", help="Go on behind an earlier page.")
    ] = None,
) -> int:
    """List instances, newest first."""
    found: list[InstanceInfo] = []
    async with session.client() as client:
        # A page may come back short; the next ones fill it up.
        while True:
            page = await client.list_instances(
                choice.filter, limit=min(limit - len(found), _LARGEST_PAGE), token=token
            )
            found.extend(page)
            token = page.next_token
            if token is None or len(found) == limit:
                break
    if session.as_json:
        session.print_json({"instances": found, "next_token": token})
        return DONE
    session.print_rows(
        ("INSTANCE", "ORCHESTRATION", "STATUS", "UPDATED (UTC)"),
        (
            (info.instance, info.orchestration_name, state_of(info), in_utc(info.updated_at))
            for info in found
        ),
    )
    if token is not None:
        session.note(f"there are more: --token {token}")
    return DONE


@command(LOOK)
async def queues(session: Session) -> int:
    """Show how much work waits for a runtime, and for how long the oldest does."""
    async with session.client() as client:
        depths = await client.get_queue_depths()
    if session.as_json:
        session.print_json(depths)
        return DONE

    def waiting(count: int, oldest: datetime | None) -> str:
        if oldest is None:
            return str(count)
        return f"{count}, the oldest for {duration_in_words(depths.counted_at - oldest)}"

    session.print_fields(
        (
            ("messages", waiting(depths.orchestrator_queue, depths.oldest_message)),
            ("activities", waiting(depths.worker_queue, depths.oldest_activity)),
            ("timers", str(depths.timer_queue)),
        )
    )
    return DONE


@command(LOOK)
async def metrics(session: Session) -> int:
    """Count instances, executions and events."""
    async with session.client() as client:
        counts = await client.get_system_metrics()
    if session.as_json:
        session.print_json(counts)
        return DONE
    session.print_fields(
        (
            ("instances", str(counts.total_instances)),
            ("running", str(counts.running_instances)),
            ("completed", str(counts.completed_instances)),
            ("failed", str(counts.failed_instances)),
            ("executions", str(counts.total_executions)),
            ("events", str(counts.total_events)),
        )
    )
    return DONE
