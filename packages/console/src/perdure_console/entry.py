"""The command as a process: runs it, turns errors into sentences, and returns the exit code.

| code | |
| --- | --- |
| 0 | all was done |
| 1 | some was not: an instance does not exist, was refused or failed, code disagrees with a history |
| 2 | the command was used wrongly |
| 3 | the storage failed |
| 130 | Ctrl-C |
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Final

import typer
from perdure.errors import (
    CapabilityMissing,
    HistoryConflict,
    InvalidInput,
    PerdureError,
    ProviderError,
    ProviderLoadError,
    RegistrationError,
)

from perdure_console.commands import add_all
from perdure_console.program import FAILED, STORAGE, USAGE, ReaderIsGone, program
from perdure_console.texts import visible

_WRONG_USE: Final = (CapabilityMissing, InvalidInput, ProviderLoadError, RegistrationError)
_INTERRUPTED: Final = 130


def script() -> int:
    """Run the command as all that this process does; returns its exit code."""
    code = main()
    # Python otherwise looks through every module's objects before it ends, which takes a tenth of
    # the processor time of a short command.
    gc.freeze()
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the process's own; returns its exit code."""
    add_all()
    try:
        code = program(
            args=None if arguments is None else list(arguments),
            prog_name="perdure",
            standalone_mode=False,
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (BrokenPipeError, ReaderIsGone):
        return _reader_is_gone()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # of a help text
            return _reader_is_gone()
        raise
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except typer.TyperException as error:
        return _refuse(error.format_message(), USAGE)
    except PerdureError as error:
        return _refuse(str(error), _code_of(error))
    except OSError as error:
        return _refuse(str(error), FAILED)
    except Exception as error:
        if os.environ.get("PERDURE_TRACEBACK"):
            raise
        return _refuse(
            f"{type(error).__name__}: {error}; this was not expected, and PERDURE_TRACEBACK=1 shows"
            " where it comes from",
            FAILED,
        )


def _code_of(error: PerdureError) -> int:
    if isinstance(error, _WRONG_USE):
        return USAGE
    if isinstance(error, ProviderError) and not isinstance(error, HistoryConflict):
        return STORAGE
    return FAILED


def _refuse(sentence: str, code: int) -> int:
    print(f"perdure: {visible(sentence.strip(), lines=True)}", file=sys.stderr)
    return code


def _reader_is_gone() -> int:
    """No failure of this command."""
    # Python would otherwise flush into the closed pipe when it ends, and complain.
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    return 0
