"""The command `web`: serves the web page."""

from __future__ import annotations

import importlib.util
import os
import socket
from typing import Annotated

import typer
from perdure.errors import InvalidInput

from perdure_console.applications import load_app
from perdure_console.program import DONE, SERVE, command
from perdure_console.session import Session

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@command(SERVE)
async def web(
    session: Session,
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8080,
    host: Annotated[
        str, typer.Option("--host", help="Another than loopback needs --token or --user-header.")
    ] = "127.0.0.1",
    app: Annotated[
        str | None,
        typer.Option("--app", metavar="MODULE:APP", help="Show where the code stands."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", envvar="PERDURE_WEB_TOKEN", metavar="TEXT", help="What people log in with."
        ),
    ] = None,
    user_header: Annotated[
        str | None,
        typer.Option(
            "--user-header", metavar="NAME", help="A header that your proxy sets for its users."
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show, and change nothing.")
    ] = False,
    hide_payloads: Annotated[
        bool, typer.Option("--hide-payloads", help="Hide inputs, results, values and errors.")
    ] = False,
) -> int:
    """Serve the web page until Ctrl-C, to this machine alone unless told otherwise."""
    missing = [
        name for name in ("starlette", "uvicorn", "jinja2") if not importlib.util.find_spec(name)
    ]
    if missing:
        raise InvalidInput(
            f'the web page needs {", ".join(missing)}; run `pip install "perdure-console[web]"`'
        )
    import uvicorn

    from perdure_console.web import application

    if host not in _LOOPBACK and token is None and user_header is None:
        raise InvalidInput(
            f"--host {host} lets other machines in; pass --token too, or --user-header behind a"
            " reverse proxy"
        )
    registries = [] if app is None else load_app(app)
    async with session.open_provider(create=False) as provider:
        site = application(
            provider,
            app=registries,
            token=token,
            user_header=user_header,
            read_only=read_only,
            hide_payloads=hide_payloads,
            secret=os.environ.get("PERDURE_WEB_SECRET"),
        )
        config = uvicorn.Config(
            site,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=1,  # open pages keep a stream
            proxy_headers=False,
        )
        with _listening(host, port) as listener:
            shown = f"[{host}]" if ":" in host else host
            chosen = listener.getsockname()[1]
            session.note(f"{provider.description} is shown at http://{shown}:{chosen}")
            await uvicorn.Server(config).serve(sockets=[listener])
    return DONE


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address; port 0 is any that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        # As servers do, so that the page can be served again at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)  # so that a browser that is quicker than the server waits
    except OSError as error:
        listener.close()
        raise InvalidInput(
            f"port {port} of {host} cannot be served: {error.strerror}; pass another --port"
        ) from None
    return listener
