"""The commands `check` and `export`: replay histories against code, and write them to files."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import typer
from perdure.errors import InvalidInput

from perdure_console.applications import load_app
from perdure_console.program import CODE, DONE, FAILED, USAGE, command
from perdure_console.session import Session

if TYPE_CHECKING:
    from perdure.testing import ReplayReport

_LONGEST_NAME: Final = 200
"""Of a file, in characters without the ending."""

_Orchestration = Annotated[
    str | None, typer.Option("--orchestration", metavar="NAME", help="Only instances of this one.")
]
_Running = Annotated[bool, typer.Option("--running", help="Only instances that have not ended.")]
_Sample = Annotated[
    int | None,
    typer.Option("--sample", min=1, metavar="N", help="So many at most, always the same."),
]


@command(CODE)
async def check(
    session: Session,
    app: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="The registry, such as shop.orders:app.")
    ],
    histories: Annotated[
        Path | None,
        typer.Option("--histories", metavar="DIR", help="Exported histories, not a storage."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A value that differs disagrees.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what agrees, too.")] = False,
    orchestration: _Orchestration = None,
    running: _Running = False,
    sample: _Sample = None,
) -> int:
    """Replay histories against code; nothing runs, nothing is written.

    Exits with 1 if the code disagrees with a history, and with 2 if nothing could be checked.
    """
    from perdure.testing import check_histories

    registries = load_app(app)
    async with nullcontext(histories) if histories is not None else session.client() as source:
        report = await check_histories(
            source,
            registries,
            strict=strict,
            orchestration=orchestration,
            running=running,
            sample=sample,
        )
    if session.as_json:
        session.print_json({"agrees": report.agrees, "executions": report.executions})
    else:
        _print(session, report, verbose=verbose)
    if not report.executions:
        session.warn("there was nothing to check")
        return USAGE
    return DONE if report.agrees else FAILED


def _print(session: Session, report: ReplayReport, *, verbose: bool) -> None:
    for each in report.executions:
        if verbose or each.verdict != "agrees" or each.differences:
            for line in str(each).splitlines():
                session.say(line)
    session.say(report.summary)


@command(CODE)
async def export(
    session: Session,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="It is created if it is missing.")
    ],
    hash_payloads: Annotated[
        bool, typer.Option("--hash-payloads", help="Write hashes of the payloads.")
    ] = False,
    no_payloads: Annotated[
        bool, typer.Option("--no-payloads", help="Leave the payloads out.")
    ] = False,
    orchestration: _Orchestration = None,
    running: _Running = False,
    sample: _Sample = None,
) -> int:
    """Write the histories of a storage into a folder, one file an instance."""
    from perdure.testing import history_documents

    if hash_payloads and no_payloads:
        raise InvalidInput("--hash-payloads and --no-payloads are both given; give one of them")
    written = 0
    async with session.client() as client:
        async for document in history_documents(
            client,
            orchestration=orchestration,
            running=running,
            sample=sample,
            payloads="hash" if hash_payloads else "none" if no_payloads else "full",
        ):
            directory.mkdir(parents=True, exist_ok=True)
            path = directory / file_name(document.instance)
            path.write_text(document.to_json(), encoding="utf-8")
            written += 1
    if session.as_json:
        session.print_json({"written": written, "directory": str(directory)})
    else:
        session.say(f"wrote {written} instance{'' if written == 1 else 's'} to {directory}")
    return DONE


def file_name(instance: str) -> str:
    """The name of an instance's file: the id, so far as a file may be called like it."""
    name = quote(instance, safe=" @+,=")
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(instance.encode()).hexdigest()[:16]
        name = f"{name[:_LONGEST_NAME]}-{digest}"
    return f"{name}.json"
