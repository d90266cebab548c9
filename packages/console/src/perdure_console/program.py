"""The program that commands are added to.

A command is a function of a `Session` and of its own arguments and options. What commands share is
added here, once: `--url`, `--codec` and `--json`, which may stand before and behind the command's name, the
options of a dataclass such as `Choice`, which stand for one argument, and the event loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from importlib.metadata import version
from typing import Annotated, Any, Final, TypeAlias, TypeVar, cast, get_type_hints

import typer

from perdure_console.session import Session

DONE: Final = 0
FAILED: Final = 1
"""Some of what was asked for is not so, or was not done."""
USAGE: Final = 2
STORAGE: Final = 3

LOOK: Final = "Look"
WORK: Final = "Start and steer"
REPAIR: Final = "Repair and remove"
CODE: Final = "Check code"
SERVE: Final = "Serve"

Command: TypeAlias = Callable[..., "Coroutine[Any, Any, int] | int"]
C = TypeVar("C", bound=Command)

# The environment counts for what stands before the name of the command alone: behind it, it would
# count above what was written before.
_URL_HELP: Final = "The storage, such as sqlite:///live.db."
_CODEC_HELP: Final = "The payload codec of the storage, or a list of them."
Url: TypeAlias = Annotated[
    str | None, typer.Option("--url", metavar="URL", help=_URL_HELP, show_default=False)
]
UrlOrEnvironment: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", envvar="PERDURE_URL", metavar="URL", help=_URL_HELP, show_default=False),
]
Codec: TypeAlias = Annotated[
    str | None,
    typer.Option("--codec", metavar="MODULE:NAME", help=_CODEC_HELP, show_default=False),
]
CodecOrEnvironment: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--codec",
        envvar="PERDURE_CODEC",
        metavar="MODULE:NAME",
        help=_CODEC_HELP,
        show_default=False,
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

program = typer.Typer(
    name="perdure",
    help="Watch, steer and repair durable instances.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class ReaderIsGone(Exception):
    """The reader of a pipe, such as `head`, has seen enough."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """What stands before the name of the command."""

    url: str | None
    codec: str | None
    as_json: bool


def _show_version(asked: bool) -> None:
    if asked:
        print(f"perdure {version('perdure')}")
        raise typer.Exit


@program.callback()
def shared(
    context: typer.Context,
    url: UrlOrEnvironment = None,
    codec: CodecOrEnvironment = None,
    as_json: AsJson = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Watch, steer and repair durable instances."""
    context.obj = _Shared(url, codec, as_json)


def command(panel: str, name: str | None = None, **settings: Any) -> Callable[[C], C]:
    """Add a function to the program, under a heading of its help.

    It takes a `Session` and returns an exit code, or a coroutine that does. The first paragraph of
    its docstring is its help.
    """

    def add(function: C) -> C:
        chosen = name or function.__name__.rstrip("_").replace("_", "-")
        program.command(chosen, rich_help_panel=panel, **settings)(_callable(function))
        return function

    return add


def _callable(function: Command) -> Callable[..., None]:
    hints = get_type_hints(function, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if _is_group(kind)}
    parameters = list(_parameters(function, hints))

    def run(**given: Any) -> None:
        before = cast("_Shared", given.pop("context").obj)
        session = Session(
            url=given.pop("url") or before.url,
            codec=given.pop("codec") or before.codec,
            as_json=given.pop("as_json") or before.as_json,
        )
        for name, kind in groups.items():
            given[name] = kind(**{each.name: given.pop(each.name) for each in fields(kind)})
        try:
            answer = function(session, **given)
            code = asyncio.run(answer) if inspect.iscoroutine(answer) else answer
        except BrokenPipeError:
            raise ReaderIsGone from None  # which Typer would take for a failure
        raise typer.Exit(cast("int", code))

    run.__doc__ = (inspect.getdoc(function) or "").replace("``", "")
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess] # what Typer reads
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _parameters(function: Command, hints: dict[str, Any]) -> Iterator[inspect.Parameter]:
    yield _parameter("context", typer.Context)
    declared = list(inspect.signature(function).parameters.values())
    for each in declared[1:]:
        kind = hints[each.name]
        if _is_group(kind):
            own = get_type_hints(kind, include_extras=True)
            for field in fields(kind):
                yield _parameter(field.name, own[field.name], _default(field))
        else:
            yield _parameter(each.name, kind, each.default)
    yield _parameter("url", Url, None)
    yield _parameter("codec", Codec, None)
    yield _parameter("as_json", AsJson, False)


def _parameter(
    name: str, annotation: object, default: object = inspect.Parameter.empty
) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _default(field: Field[Any]) -> object:
    return inspect.Parameter.empty if field.default is MISSING else field.default


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind) and kind.__name__ != Session.__name__
