"""One command at work: the storage that it opens, and what it prints.

A terminal gets tables and colours. A pipe gets plain lines: one record a line, fields separated by
tabs, no heads. `--json` gives one JSON document, or one on each line where there is no end to wait
for. Answers go to the standard output; what is only said to people goes to the standard error.

Rich is loaded where something is drawn, not by commands that answer in JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import perdure
import typer
from perdure.errors import InvalidInput

from perdure_console.applications import load_object
from perdure_console.records import to_plain
from perdure_console.texts import colour_of, escape_json, visible

if TYPE_CHECKING:
    from perdure.codecs import PayloadCodec
    from perdure.contract import Provider
    from rich.console import Console


@dataclass(frozen=True)
class Session:
    """What a command has beside its arguments."""

    url: str | None
    codec: str | None = None
    """Where the codecs of the storage are, as `MODULE:NAME`."""
    as_json: bool = False

    @cached_property
    def out(self) -> Console:
        """The standard output."""
        from rich.console import Console

        return Console(highlight=False, markup=False, emoji=False, soft_wrap=False)

    @cached_property
    def error(self) -> Console:
        """The standard error."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads the answer as it comes."""
        return not self.as_json and self.out.is_terminal

    # The storage

    def require_url(self) -> str:
        """The URL; raises `InvalidInput` where none is given, and for a path."""
        if self.url is None:
            raise InvalidInput(
                "no storage is named; pass --url, or set PERDURE_URL, such as"
                " --url sqlite:///live.db"
            )
        if "://" not in self.url:
            raise InvalidInput(f"{self.url!r} is no URL of a storage, such as sqlite:///live.db")
        return self.url

    @asynccontextmanager
    async def client(self, *, create: bool = False) -> AsyncGenerator[perdure.Client]:
        """A client of the storage, which must exist unless `create` is set."""
        async with self.open_provider(create=create) as provider:
            yield perdure.Client(provider)

    def open_provider(self, *, create: bool) -> AbstractAsyncContextManager[Provider]:
        """The provider, with its codecs; it is open while the context lasts."""
        url = self.require_url()
        if self.codec is None:
            return perdure.open_provider(url, create=create)
        codec = cast("PayloadCodec | Sequence[PayloadCodec]", load_object(self.codec, "codec"))
        return perdure.open_provider(url, create=create, codec=codec)

    # Answers

    def print_json(self, value: object) -> None:
        """Print one JSON document."""
        text = json.dumps(to_plain(value), indent=2, ensure_ascii=False)
        print(escape_json(text))

    def print_json_line(self, value: object) -> None:
        """Print one JSON document on a line of its own, at once."""
        print(escape_json(json.dumps(to_plain(value), ensure_ascii=False)), flush=True)

    def print_rows(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print records: a table, or a line each with tabs."""
        if not self.out.is_terminal:
            for row in rows:
                print("\t".join(visible(cell) for cell in row))
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name in head:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text(visible(cell), style=colour_of(cell)) for cell in row))
        self.out.print(table)

    def print_fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Print what a record has: names and values."""
        if not self.out.is_terminal:
            for name, value in pairs:
                print(f"{name}\t{visible(value)}")
            return
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in pairs:
            table.add_row(name, Text(visible(value, lines=True), style=colour_of(value)))
        self.out.print(table)

    def say(self, text: str, *, style: str = "") -> None:
        """Print a line of the answer, at once."""
        if not self.out.is_terminal:
            print(visible(text), flush=True)
            return
        from rich.text import Text

        self.out.print(Text(visible(text), style=style), soft_wrap=True)

    def note(self, text: str) -> None:
        """Tell people something that is no part of the answer."""
        print(visible(text), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Say what was not done, and why."""
        self.note(f"perdure: {text}")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before what cannot be undone; raises `typer.Abort` if the answer is not yes.

        Where there is no terminal to ask on, raises `InvalidInput`.
        """
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise InvalidInput(f"{question} There is no terminal to ask on; pass --yes")
        if not typer.confirm(visible(question), err=True):
            raise typer.Abort
