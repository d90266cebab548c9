"""The commands `check` and `export`: replay histories against code, and write them to files.

perdure check shop.orders:app --url sqlite:///live.db --running
perdure export sqlite:///live.db tests/histories
perdure check shop.orders:app --histories tests/histories
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from perdure.authoring.registry import Registry
from perdure.command.answers import DISAGREES, DONE, FAILED, Commands, count
from perdure.errors import InvalidInput
from perdure.testing.history_sources import documents_of
from perdure.testing.replay_check import check_histories

if TYPE_CHECKING:
    from perdure.model.hidden_payload import Payloads

_LONGEST_NAME: Final = 200
"""Of a file, in characters without the ending."""


def add_commands(commands: Commands) -> None:
    """Add the commands to the parser."""
    check = commands.add_parser(
        "check",
        help="replay histories against code, without running anything",
        description="Replay histories against code, without running anything. Exits with 1 if"
        " the code disagrees with a history, and with 2 if nothing could be checked.",
    )
    check.add_argument("app", metavar="MODULE:APP", help="the registry, such as shop.orders:app")
    source = check.add_mutually_exclusive_group(required=True)
    source.add_argument("--histories", type=Path, metavar="DIR", help="a folder of documents")
    source.add_argument("--url", help="the URL of a storage, which is only read")
    check.add_argument("--strict", action="store_true", help="a value that differs disagrees")
    check.add_argument("--verbose", action="store_true", help="show executions that agree, too")
    check.set_defaults(run=_check)

    export = commands.add_parser(
        "export",
        help="write the histories of a storage, one file an instance",
        description="Write the histories of a storage into a folder, one file an instance.",
    )
    export.add_argument("url", metavar="URL", help="the URL of a storage, which is only read")
    export.add_argument("directory", type=Path, metavar="DIR", help="created if it is missing")
    hiding = export.add_mutually_exclusive_group()
    for flag, payloads, what in (
        ("--hash-payloads", "hash", "write hashes of the payloads"),
        ("--no-payloads", "none", "leave the payloads out"),
    ):
        hiding.add_argument(flag, dest="payloads", action="store_const", const=payloads, help=what)
    export.set_defaults(run=_export, payloads="full")

    for command in (check, export):
        command.add_argument("--orchestration", metavar="NAME", help="only instances of this one")
        command.add_argument(
            "--running", action="store_true", help="only instances that have not ended"
        )
        command.add_argument(
            "--sample", type=count, metavar="N", help="so many at most, the same ones each time"
        )


async def _check(options: argparse.Namespace) -> int:
    report = await check_histories(
        options.histories if options.url is None else options.url,
        load_app(options.app),
        strict=options.strict,
        orchestration=options.orchestration,
        running=options.running,
        sample=options.sample,
    )
    for each in report.executions:
        if options.verbose or each.verdict != "agrees" or each.differences:
            print(each)
    print(report.summary)
    if not report.executions:
        print("perdure: there was nothing to check", file=sys.stderr)
        return FAILED
    return DONE if report.agrees else DISAGREES


async def _export(options: argparse.Namespace) -> int:
    if "://" not in options.url:
        raise InvalidInput(f"{options.url!r} is no URL of a storage, such as sqlite:///live.db")
    directory = cast("Path", options.directory)
    written = 0
    async for document in documents_of(
        options.url,
        orchestration=options.orchestration,
        running=options.running,
        sample=options.sample,
        payloads=cast("Payloads", options.payloads),
    ):
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / file_name(document.instance)
        path.write_text(document.to_json(), encoding="utf-8")
        written += 1
    print(f"wrote {written} instance{'' if written == 1 else 's'} to {directory}")
    return DONE


def load_app(path: str) -> list[Registry]:
    """The registries at `MODULE:APP`; raises `InvalidInput`."""
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise InvalidInput(f"{path!r} names no registry; write it as MODULE:APP")
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        # As `python -m` does; the script stands in another folder.
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{path!r} cannot be imported: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise InvalidInput(f"module {module!r} has no {name!r}; name the registry in it")
        found = getattr(found, part)
    registries = [found] if isinstance(found, Registry) else _all_of(found)
    if not registries or not all(isinstance(each, Registry) for each in registries):
        raise InvalidInput(f"{path!r} is no Registry, and no list of registries")
    return cast("list[Registry]", registries)


def _all_of(found: object) -> list[object]:
    if isinstance(found, list | tuple | set | frozenset):
        return list(cast("Iterable[object]", found))
    return []


def file_name(instance: str) -> str:
    """The name of an instance's file: the id, so far as a file may be called like it."""
    name = quote(instance, safe=" @+,=")
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(instance.encode()).hexdigest()[:16]
        name = f"{name[:_LONGEST_NAME]}-{digest}"
    return f"{name}.json"
