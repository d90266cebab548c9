"""The commands `retry`, `rewind` and `fork`: they run an instance again, or a copy of it."""

from __future__ import annotations

from typing import Annotated

import typer
from perdure.errors import InvalidInput, PerdureError, ProviderError

from perdure_console.choosing import (
    Execution,
    Instance,
    Instances,
    Labels,
    Reason,
    RootChoice,
    Version,
    labels_of,
    refuse_both,
)
from perdure_console.outcomes import Outcomes
from perdure_console.program import DONE, REPAIR, command
from perdure_console.session import Session

_NEWEST_VERSION = Annotated[
    bool,
    typer.Option("--newest-version", help="Let the next runtime choose the version."),
]
_LIMIT = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="So many that match at most."),
]


@command(REPAIR)
async def retry(
    session: Session,
    choice: RootChoice,
    instances: Instances = None,
    limit: _LIMIT = None,
    reason: Reason = "",
    version: Version = None,
    newest_version: _NEWEST_VERSION = False,
) -> int:
    """Run failed instances again, from where they failed.

    Those that are named, or up to --limit that match.
    """
    refuse_both(instances, limit)
    outcomes = Outcomes("retried")
    async with session.client() as client:
        if limit is not None:
            if version is not None or newest_version:
                raise InvalidInput("a version is for instances that are named; leave --limit out")
            found = await client.retry_instances(choice.filter, limit=limit, reason=reason)
            outcomes.done.extend(found.retried)
            outcomes.refused.extend(found.refused)
        for instance in instances or ():
            try:
                await client.retry_instance(
                    instance, reason=reason, version=version, newest_version=newest_version
                )
                outcomes.done.append(instance)
            except PerdureError as error:
                if isinstance(error, ProviderError) and error.retryable:
                    raise
                outcomes.refused.append((instance, str(error)))
    return outcomes.report(session)


@command(REPAIR)
async def rewind(
    session: Session,
    instance: Instance,
    to: Annotated[
        int, typer.Option("--to", "--to-event", metavar="N", help="The last event that is kept.")
    ],
    execution: Execution = None,
    reason: Reason = "",
    version: Version = None,
    newest_version: _NEWEST_VERSION = False,
) -> int:
    """Run an instance again from an event of its history. Earlier executions stay readable."""
    async with session.client() as client:
        number = await client.rewind_instance(
            instance,
            to_event=to,
            execution=execution,
            reason=reason,
            version=version,
            newest_version=newest_version,
        )
    if session.as_json:
        session.print_json({"instance": instance, "execution": number})
    else:
        session.say(f"{instance} runs again, as execution {number}")
    return DONE


@command(REPAIR)
async def fork(
    session: Session,
    instance: Instance,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The id of the copy.")],
    to: Annotated[
        int | None,
        typer.Option("--to", "--to-event", metavar="N", help="The last event that is copied."),
    ] = None,
    execution: Execution = None,
    reason: Reason = "",
    version: Version = None,
    label: Labels = None,
) -> int:
    """Start a copy of an instance under a new id, with its history up to an event."""
    async with session.client() as client:
        await client.fork_instance(
            instance,
            new,
            to_event=to,
            execution=execution,
            reason=reason,
            version=version,
            labels=labels_of(label) if label else None,
        )
    if session.as_json:
        session.print_json({"source": instance, "instance": new})
    else:
        session.say(f"{new} runs, as a copy of {instance}")
    return DONE
