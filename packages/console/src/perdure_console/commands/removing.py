"""The commands `delete`, `prune` and `purge`: what they remove does not come back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from perdure import Client, InstanceFilter
from perdure.errors import InvalidInput, PerdureError, ProviderError

from perdure_console.choosing import (
    Instance,
    Instances,
    RootChoice,
    duration_of,
    moment_of,
    refuse_both,
)
from perdure_console.outcomes import Outcomes
from perdure_console.program import DONE, REPAIR, Yes, command
from perdure_console.session import Session

_BATCH: Final = 50
"""How many instances one call deletes, so that progress is seen."""
_MOST: Final = 1_000_000_000


@command(REPAIR)
async def delete(
    session: Session,
    choice: RootChoice,
    instances: Instances = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="So many that match at most."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which match.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Terminate what runs of those that are named.")
    ] = False,
    yes: Yes = False,
) -> int:
    """Delete instances with their children. It asks before.

    Those that are named, or up to --limit ended ones that match.
    """
    refuse_both(instances, limit)
    if limit is not None and force:
        raise InvalidInput("--force is for instances that are named; leave --limit out")
    if instances and dry_run:
        raise InvalidInput("--dry-run is for instances that match; pass --limit instead of ids")
    async with session.client() as client:
        if limit is None:
            named = instances or []
            session.confirm(f"Delete {_several(len(named))}, with children?", yes=yes)
            return (await _delete_named(client, named, force=force)).report(session)
        if dry_run:
            found = await client.delete_instances(choice.filter, limit=limit, dry_run=True)
            return Outcomes("would delete", done=found).report(session)
        session.confirm(f"Delete up to {_several(limit)} that match, with children?", yes=yes)
        deleted = await _delete_matching(session, client, choice.filter, limit)
    return Outcomes("deleted", done=deleted).report(session)


async def _delete_named(client: Client, instances: list[str], *, force: bool) -> Outcomes:
    outcomes = Outcomes("deleted")
    for instance in instances:
        try:
            if await client.delete_instance(instance, force=force):
                outcomes.done.append(instance)
            else:
                outcomes.refused.append((instance, f"instance {instance!r} does not exist"))
        except PerdureError as error:
            if isinstance(error, ProviderError) and error.retryable:
                raise
            outcomes.refused.append((instance, str(error)))
    return outcomes


async def _delete_matching(
    session: Session, client: Client, filter: InstanceFilter, most: int
) -> list[str]:
    """Delete in batches, with progress on a terminal; returns the ids."""
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    deleted: list[str] = []
    columns = (SpinnerColumn(), TextColumn("deleted"), MofNCompleteColumn())
    total = None if most == _MOST else most
    hidden = not session.error.is_terminal
    with Progress(*columns, console=session.error, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=total)
        while len(deleted) < most:
            batch = await client.delete_instances(filter, limit=min(_BATCH, most - len(deleted)))
            if not batch:
                break
            deleted.extend(batch)
            progress.update(task, completed=len(deleted))
    return deleted


@command(REPAIR)
async def prune(
    session: Session,
    instance: Instance,
    keep_last: Annotated[
        int | None,
        typer.Option("--keep-last", min=1, metavar="N", help="Keep so many, the newest."),
    ] = None,
    completed_before: Annotated[
        str | None,
        typer.Option("--completed-before", metavar="WHEN", help="Only what ended earlier."),
    ] = None,
    yes: Yes = False,
) -> int:
    """Delete old executions of an instance, with their histories. It asks before."""
    before = moment_of(completed_before, "--completed-before")
    if keep_last is None and before is None:
        raise InvalidInput("nothing says what to delete; pass --keep-last or --completed-before")
    async with session.client() as client:
        await client.get_instance_info(instance)
        session.confirm(f"Delete old executions of {instance}?", yes=yes)
        count = await client.prune_executions(
            instance, keep_last=keep_last, completed_before=before
        )
    if session.as_json:
        session.print_json({"instance": instance, "pruned": count})
    else:
        session.say(f"deleted {count} execution{'' if count == 1 else 's'} of {instance}")
    return DONE


@command(REPAIR)
async def purge(
    session: Session,
    choice: RootChoice,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Since its end, such as 30d.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which match.")] = False,
    yes: Yes = False,
) -> int:
    """Delete all instances that ended longer ago, with their children. It asks before."""
    if choice.updated_before is not None:
        raise InvalidInput("--older-than and --updated-before are both given; give one of them")
    age = duration_of(older_than, "--older-than")
    if age is None:
        raise InvalidInput("--older-than is empty; write it like 30d")
    wanted = replace(choice.filter, updated_before=datetime.now(UTC) - age)
    async with session.client() as client:
        if dry_run:
            found = await client.delete_instances(wanted, limit=_MOST, dry_run=True)
            return Outcomes("would delete", done=found).report(session)
        session.confirm(f"Delete all that match and ended over {older_than} ago?", yes=yes)
        deleted = await _delete_matching(session, client, wanted, _MOST)
    if session.as_json:
        session.print_json({"deleted": len(deleted)})
    else:
        session.say(f"deleted {_several(len(deleted))}")
    return DONE


def _several(count: int) -> str:
    return f"{count:,} instance{'' if count == 1 else 's'}"
