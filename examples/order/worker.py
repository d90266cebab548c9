"""A worker: one process that runs the order process, until it is told to stop or is killed.

It keeps no state: everything is in the storage, so another worker goes on where it was.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta

import perdure
from perdure.contract import Provider

from orders import Surroundings, app
from outside import Outside
from screen import Screen
from stage import Stage

_OPTIONS = perdure.RuntimeOptions(
    # Short leases: the next worker takes over soon after a kill.
    turn_lease=timedelta(seconds=1.5),
    activity_lease=timedelta(seconds=1.5),
    shutdown_grace=timedelta(seconds=1),
)


async def work(stage: Stage) -> None:
    """Run until SIGTERM or Ctrl-C."""
    async with perdure.open_provider(stage.url) as provider, runtime(provider, stage) as running:
        await running.run_until_stopped()


def runtime(provider: Provider, stage: Stage) -> perdure.Runtime:
    """The runtime of a worker; what it does is told on the screen."""
    screen = Screen(f"worker {os.getpid()}")
    _show_logs(screen)
    around = Surroundings(
        outside=Outside(stage.ledger), screen=screen, answer_seconds=stage.answer_seconds
    )
    screen.say("", "runs", "blue")
    return perdure.Runtime(provider, app, resources=around, options=_OPTIONS)


def _show_logs(screen: Screen) -> None:
    """Send what orchestrations and the runtime log to the screen. In replay they log nothing."""
    logger = logging.getLogger("perdure")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [_OnScreen(screen)]


class _OnScreen(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        instance = str(getattr(record, "perdure_instance", ""))
        text = record.getMessage().splitlines()[0].removeprefix(f"[{instance}] ")
        colour = "yellow" if record.levelno >= logging.WARNING else None
        self._screen.say(instance.partition("::")[0], text, colour)
