"""The commands, each in the module of its kind; importing a module adds its commands to the program.

- `worker`, `web`: `worker`, `web`
- `listing`: `list`, `queues`, `metrics`
- `showing`: `show`, `tree`, `history`
- `starting`: `start`, `raise`
- `ending`: `cancel`, `terminate`
- `waiting`: `wait`, `result`
- `recovering`: `retry`, `rewind`, `fork`
- `removing`: `delete`, `prune`, `purge`
- `histories`: `check`, `export`
- `where`: `where`
- `installed`: `providers`, `conformance`
"""

from __future__ import annotations

import importlib
from typing import Final

_IN_THE_ORDER_OF_THE_HELP: Final = (
    "worker",
    "web",
    "listing",
    "showing",
    "starting",
    "ending",
    "waiting",
    "recovering",
    "removing",
    "histories",
    "where",
    "installed",
)


def add_all() -> None:
    """Add all commands to the program; once."""
    for name in _IN_THE_ORDER_OF_THE_HELP:
        importlib.import_module(f"{__name__}.{name}")
