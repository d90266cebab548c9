"""The commands `providers` and `conformance`: what is installed, and whether it keeps the contract."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import typer
from perdure import installed_providers
from perdure.errors import InvalidInput

from perdure_console.program import CODE, DONE, FAILED, LOOK, command
from perdure_console.session import Session


@command(LOOK)
def providers(session: Session) -> int:
    """List the installed providers."""
    found = installed_providers()
    if session.as_json:
        session.print_json({"providers": found})
        return FAILED if any(each.problem for each in found) else DONE
    session.print_rows(
        ("SCHEME", "DISTRIBUTION", "VERSION", "CONTRACT", "CAPABILITIES", "EXAMPLE"),
        (
            (
                each.scheme,
                each.distribution,
                each.distribution_version,
                each.contract or "",
                " ".join(each.capabilities),
                each.example_url or "",
            )
            for each in found
        ),
    )
    broken = [each for each in found if each.problem is not None]
    for each in broken:
        session.warn(f"{each.scheme}: {each.problem}")
    return FAILED if broken else DONE


@command(CODE, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def conformance(session: Session, arguments: list[str] = typer.Argument(metavar="ARGUMENT")) -> int:  # noqa: B008 # how Typer reads what follows
    """Run the conformance suite, if it is installed.

    The arguments are those of `python -m perdure_conformance`, of which the first is a URL.
    """
    if importlib.util.find_spec("perdure_conformance") is None:
        raise InvalidInput(
            "the conformance suite is not installed; run `pip install perdure-conformance`"
        )
    line = [sys.executable, "-m", "perdure_conformance", *arguments]
    return subprocess.call(line)  # noqa: S603 # the suite, with the arguments of the caller
