"""The calls of asyncio's loop interface that need the outside world: each is refused with advice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from perdure.errors import ForbiddenInOrchestration
from perdure.model.guards import OrchestrationLoopMarker


class ForbiddingLoop(OrchestrationLoopMarker, asyncio.AbstractEventLoop):
    """Raises `ForbiddenInOrchestration` for threads, executors, sockets and subprocesses."""


_FORBIDDEN = {
    "run_in_executor": "move the blocking call into an activity",
    "set_default_executor": "move the blocking call into an activity",
    "call_soon_threadsafe": "let an activity, or an event raised by the client, bring the result",
    "run_forever": "await instead",
    "run_until_complete": "await instead",
    "stop": "return from the orchestration",
    "close": "return from the orchestration",
    "set_debug": "set it on the host's loop",
    "set_exception_handler": "catch the exception in the orchestration",
    "set_task_factory": "create tasks with asyncio.create_task",
}
_FORBIDDEN_IO = [
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "add_signal_handler",
    "remove_signal_handler",
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "create_datagram_endpoint",
    "create_unix_connection",
    "create_unix_server",
    "connect_accepted_socket",
    "start_tls",
    "sendfile",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_connect",
    "sock_accept",
    "sock_sendfile",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_exec",
    "subprocess_shell",
]


def _forbidden(name: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(self: ForbiddingLoop, *_: object, **__: object) -> NoReturn:
        self.forbid(
            ForbiddenInOrchestration(
                f"{name} was used in an orchestration, where it cannot be replayed; {instead}"
            )
        )

    refuse.__name__ = name
    refuse.__doc__ = f"Raises `ForbiddenInOrchestration`: {instead}."
    return refuse


for _name in _FORBIDDEN_IO:
    setattr(ForbiddingLoop, _name, _forbidden(_name, "do the I/O in an activity"))
for _name, _instead in _FORBIDDEN.items():
    setattr(ForbiddingLoop, _name, _forbidden(_name, _instead))
