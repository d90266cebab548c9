"""A proxy on loopback that delays: `python -m benchmarks.delay SOCKET MILLISECONDS`.

A round trip through it takes the given time longer, half of it each way; how many bytes are under
way is not limited. It prints its port.
"""

from __future__ import annotations

import queue
import socket
import sys
import threading
import time

_CHUNK = 1 << 16

Due = tuple[float, bytes]
"""When the bytes are passed on; no bytes at the end."""


def serve(path: str, milliseconds: float) -> None:
    """Accept connections until the process ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(path)
            for source, target in ((client, upstream), (upstream, client)):
                _pass_on(source, target, milliseconds / 2000)


def _pass_on(source: socket.socket, target: socket.socket, delay: float) -> None:
    """In two threads, so that what comes during a delay is delayed no longer."""
    waiting: queue.SimpleQueue[Due] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(source, waiting, delay), daemon=True).start()
    threading.Thread(target=_send, args=(waiting, target), daemon=True).start()


def _receive(source: socket.socket, waiting: queue.SimpleQueue[Due], delay: float) -> None:
    data = b"-"
    while data:
        try:
            data = source.recv(_CHUNK)
        except OSError:
            data = b""
        waiting.put((time.perf_counter() + delay, data))


def _send(waiting: queue.SimpleQueue[Due], target: socket.socket) -> None:
    while True:
        due, data = waiting.get()
        time.sleep(max(0.0, due - time.perf_counter()))
        try:
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(data)
        except OSError:
            return


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
