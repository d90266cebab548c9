"""The demonstration of Perdure: `python examples/order` and its modes; `--help` lists them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import perdure

import by_hand
import director
import verdict
import worker
from screen import Screen
from stage import Stage

_MODES = {
    "show": "kill workers in the middle of two orders, and look at what holds (the default)",
    "run": "run two orders in this process; kill it by hand, and give the same command again",
    "worker": "run a worker only, until Ctrl-C",
    "look": "print histories, ledger and findings of what is there",
}


def main() -> int:
    """Returns 0 only where everything holds."""
    options = _parser().parse_args()
    with _directory(options) as directory:
        stage = Stage(
            directory=directory,
            url=options.url or f"sqlite:///{directory / 'orders.db'}",
            prefix=options.prefix or _prefix(options),
            pace=options.pace or (3.0 if options.mode == "run" else 1.0),
        )
        if options.mode != "worker":
            Screen("").write(f"storage: {stage.url}")
        try:
            return 0 if asyncio.run(_play(options.mode, stage)) else 1
        except (perdure.PerdureError, RuntimeError) as problem:
            sys.stderr.write(f"the demonstration did not come to its end: {problem}\n")
            return 1
        except KeyboardInterrupt:
            return 130


async def _play(mode: str, stage: Stage) -> bool:
    match mode:
        case "worker":
            await worker.work(stage)
            return True
        case "run":
            return await by_hand.run(stage)
        case "look":
            async with perdure.open_provider(stage.url) as provider:
                return await verdict.show(stage, perdure.Client(provider), Screen("look"))
        case _:
            return await director.direct(stage)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="An order process that survives kill -9, on the storage of your choice.",
        epilog="\n".join(f"  {mode:<8}{text}" for mode, text in _MODES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("mode", nargs="?", choices=list(_MODES), default="show")
    parser.add_argument("--directory", type=Path, help="where the files are kept")
    parser.add_argument("--url", help="the storage, such as sqlite:///orders.db")
    parser.add_argument("--prefix", help="of the ids, for another demonstration on one storage")
    parser.add_argument("--pace", type=float, help="2 makes everything take twice as long")
    return parser


@contextlib.contextmanager
def _directory(options: argparse.Namespace) -> Generator[Path]:
    """The one that was given; else a lasting one for what is continued, and a fresh one to show."""
    chosen: Path | None = options.directory
    if chosen is None and options.mode != "show":
        chosen = Path("order-demo")
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="perdure-demo-") as made:
        yield Path(made)


def _prefix(options: argparse.Namespace) -> str:
    """Ids that were never used: on a fresh file any will do."""
    fresh = options.mode != "show" or (options.url is None and options.directory is None)
    return "order-" if fresh else f"order-{time.time_ns() // 1_000_000_000:x}{os.getpid():x}-"


if __name__ == "__main__":
    sys.exit(main())
