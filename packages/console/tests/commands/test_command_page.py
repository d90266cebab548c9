"""The page about the command line names every command, and every option by which it chooses instances."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from perdure_console.commands import add_all
from perdure_console.program import program
from typer.main import get_command

PAGE = (Path(__file__).parents[4] / "docs" / "operate" / "command.md").read_text("utf-8")


def commands() -> dict[str, Any]:
    add_all()
    return get_command(program).commands


def options(command: Any) -> set[str]:
    found = {text for each in command.params for text in each.opts if text.startswith("--")}
    return found - {"--help"}


def test_the_page_names_every_command() -> None:
    named = re.findall(r"^\| `perdure (\w+)", PAGE, re.MULTILINE)

    assert sorted(named) == sorted(commands())


def test_the_page_has_every_option_of_a_listing_and_no_option_that_does_not_exist() -> None:
    described = set(re.findall(r"--[a-z][a-z-]*", PAGE))
    known = {option for command in commands().values() for option in options(command)}

    assert described - {"--help", "--install-completion"} <= known
    assert options(commands()["list"]) <= described
    assert options(commands()["delete"]) <= described


def test_every_command_says_what_it_does_and_what_its_options_are() -> None:
    silent = [name for name, command in commands().items() if not command.help]

    assert silent == []
