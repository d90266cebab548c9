"""The commands `retry`, `rewind`, `cancel`, `terminate` and `delete`: they change what is stored.

perdure retry sqlite:///live.db order-1 order-2 --reason "the bank is back"
perdure retry sqlite:///live.db --orchestration process --updated-after 2h --limit 100
perdure rewind sqlite:///live.db order-1 --to-event 7
perdure terminate sqlite:///live.db order-1 --reason "started by mistake"
perdure delete sqlite:///live.db --updated-before 90d --limit 1000 --dry-run
"""

from __future__ import annotations

import argparse
import sys

from perdure.client.calls import DEFAULT_REASON
from perdure.client.client import Client
from perdure.command.answers import (
    DISAGREES,
    DONE,
    Commands,
    add_url,
    client_of,
    count,
    print_json,
)
from perdure.command.filters import add_filters, filter_of, refuse_both
from perdure.errors import InstanceNotFound, InvalidInput, PerdureError
from perdure.model.status import NotFound, Running


def add_commands(commands: Commands) -> None:
    """Add the commands to the parser."""
    retry = commands.add_parser(
        "retry",
        help="run failed instances again, from where they failed",
        description="Run failed instances again: those that are named, or up to --limit that match.",
    )
    add_url(retry)
    retry.add_argument("instances", nargs="*", metavar="INSTANCE")
    add_filters(retry, whole_trees=True)
    retry.add_argument("--limit", type=count, metavar="N", help="so many that match at most")
    _add_version(retry)
    retry.set_defaults(run=_retry)

    rewind = commands.add_parser(
        "rewind", help="run an instance again from an event of its history"
    )
    add_url(rewind)
    rewind.add_argument("instance", metavar="INSTANCE")
    rewind.add_argument(
        "--to-event", type=int, required=True, metavar="N", help="the last kept one"
    )
    rewind.add_argument("--execution", type=int, metavar="N", help="by default the newest")
    _add_version(rewind)
    rewind.set_defaults(run=_rewind)

    cancel = commands.add_parser("cancel", help="ask an instance to end, with its cleanup")
    add_url(cancel)
    cancel.add_argument("instance", metavar="INSTANCE")
    cancel.add_argument("--reason", default=DEFAULT_REASON, metavar="TEXT")
    cancel.set_defaults(run=_cancel)

    terminate = commands.add_parser(
        "terminate", help="end an instance at once, without its cleanup"
    )
    add_url(terminate)
    terminate.add_argument("instance", metavar="INSTANCE")
    terminate.add_argument("--reason", default=DEFAULT_REASON, metavar="TEXT")
    terminate.set_defaults(run=_terminate)

    delete = commands.add_parser(
        "delete",
        help="delete instances with their children",
        description="Delete instances with their children: those that are named, or up to --limit"
        " ended ones that match.",
    )
    add_url(delete)
    delete.add_argument("instances", nargs="*", metavar="INSTANCE")
    add_filters(delete, whole_trees=True)
    delete.add_argument("--limit", type=count, metavar="N", help="so many that match at most")
    delete.add_argument("--dry-run", action="store_true", help="only say which ones match")
    delete.add_argument(
        "--force", action="store_true", help="terminate what runs of those that are named"
    )
    delete.set_defaults(run=_delete)


def _add_version(command: argparse.ArgumentParser) -> None:
    command.add_argument("--reason", default="", metavar="TEXT", help="recorded in the history")
    version = command.add_mutually_exclusive_group()
    version.add_argument("--version", metavar="VERSION", help="pin it to this version")
    version.add_argument(
        "--newest-version", action="store_true", help="let the next runtime choose the version"
    )


async def _retry(options: argparse.Namespace) -> int:
    refuse_both(options.instances, options.limit)
    done: list[str] = []
    refused: list[tuple[str, str]] = []
    async with client_of(options.url) as client:
        if options.limit is not None:
            if options.version is not None or options.newest_version:
                raise InvalidInput("a version is for instances that are named; leave --limit out")
            result = await client.retry_instances(
                filter_of(options), limit=options.limit, reason=options.reason
            )
            done, refused = list(result.retried), list(result.refused)
        for instance in options.instances:
            try:
                await client.retry_instance(
                    instance,
                    reason=options.reason,
                    version=options.version,
                    newest_version=options.newest_version,
                )
                done.append(instance)
            except PerdureError as error:
                refused.append((instance, str(error)))
    return _report("retried", done, refused, as_json=options.json)


async def _rewind(options: argparse.Namespace) -> int:
    async with client_of(options.url) as client:
        execution = await client.rewind_instance(
            options.instance,
            to_event=options.to_event,
            execution=options.execution,
            reason=options.reason,
            version=options.version,
            newest_version=options.newest_version,
        )
    if options.json:
        print_json({"instance": options.instance, "execution": execution})
    else:
        print(f"{options.instance} runs again, as execution {execution}")
    return DONE


async def _cancel(options: argparse.Namespace) -> int:
    async with client_of(options.url) as client:
        status = await client.get_orchestration_status(options.instance)
        if isinstance(status, NotFound):
            raise InstanceNotFound(options.instance)
        await client.cancel_instance(options.instance, options.reason)
    asked = isinstance(status, Running)
    if options.json:
        print_json({"instance": options.instance, "asked": asked})
    else:
        print(f"{options.instance} {'is asked to end' if asked else 'had ended before'}")
    return DONE


async def _terminate(options: argparse.Namespace) -> int:
    async with client_of(options.url) as client:
        terminated = await client.terminate_instance(options.instance, options.reason)
    if options.json:
        print_json({"instance": options.instance, "terminated": terminated})
    else:
        print(f"{options.instance} {'was terminated' if terminated else 'had ended before'}")
    return DONE


async def _delete(options: argparse.Namespace) -> int:
    refuse_both(options.instances, options.limit)
    if options.limit is not None and options.force:
        raise InvalidInput("--force is for instances that are named; leave --limit out")
    if options.instances and options.dry_run:
        raise InvalidInput("--dry-run is for instances that match; pass --limit instead of ids")
    async with client_of(options.url) as client:
        if options.limit is not None:
            found = await client.delete_instances(
                filter_of(options), limit=options.limit, dry_run=options.dry_run
            )
            verb = "would delete" if options.dry_run else "deleted"
            return _report(verb, found, [], as_json=options.json)
        return await _delete_named(client, options)


async def _delete_named(client: Client, options: argparse.Namespace) -> int:
    done: list[str] = []
    refused: list[tuple[str, str]] = []
    for instance in options.instances:
        try:
            if await client.delete_instance(instance, force=options.force):
                done.append(instance)
            else:
                refused.append((instance, f"instance {instance!r} does not exist"))
        except PerdureError as error:
            refused.append((instance, str(error)))
    return _report("deleted", done, refused, as_json=options.json)


def _report(verb: str, done: list[str], refused: list[tuple[str, str]], *, as_json: bool) -> int:
    """Print what was done and what was not, and return the exit code."""
    if as_json:
        not_done = [{"instance": instance, "reason": reason} for instance, reason in refused]
        print_json({verb.replace(" ", "_"): done, "refused": not_done})
    else:
        for instance in done:
            print(f"{verb} {instance}")
        if not done and not refused:
            print("no instance matches")
    for instance, reason in refused:
        print(f"perdure: {instance}: {reason}", file=sys.stderr)
    return DISAGREES if refused else DONE
