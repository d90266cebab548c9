"""The page about the command line names every command, and every option by which it chooses instances."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from perdure.command.entry import _parser

PAGE = (Path(__file__).parents[4] / "docs" / "operate" / "command.md").read_text("utf-8")


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (
        each
        for each in _parser()._actions
        if isinstance(each, argparse._SubParsersAction)  # what has the commands
    )
    return dict(action.choices)


def options(command: argparse.ArgumentParser) -> set[str]:
    return {text for each in command._actions for text in each.option_strings} - {"-h", "--help"}


def test_the_page_names_every_command() -> None:
    named = re.findall(r"^\| `perdure (\w+)", PAGE, re.MULTILINE)

    assert sorted(named) == sorted(commands())


def test_the_page_has_every_option_of_a_listing_and_no_option_that_does_not_exist() -> None:
    described = set(re.findall(r"--[a-z][a-z-]*", PAGE))
    known = {option for command in commands().values() for option in options(command)}

    assert described - {"--help"} <= known
    assert options(commands()["list"]) <= described
    assert options(commands()["delete"]) <= described
