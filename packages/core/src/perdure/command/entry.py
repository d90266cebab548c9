"""The command line: one parser for all commands.

The exit code is 0 if all was done, 1 if some was not (code disagrees with a history, an instance was
not retried), and 2 if the command itself failed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import cast

from perdure.command import histories, looking, mending
from perdure.command.answers import FAILED
from perdure.errors import PerdureError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return cast("int", asyncio.run(options.run(options)))
    except PerdureError as error:
        print(f"perdure: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="perdure",
        description="Look at instances, run them again, delete them; check code against histories.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    looking.add_commands(commands)
    mending.add_commands(commands)
    histories.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
