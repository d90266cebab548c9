"""The application: its routes, and what each of them is served by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

import perdure
from perdure import Registry
from perdure.contract import Provider
from perdure.errors import InvalidInput, PerdureError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from perdure_console.web.acting import act
from perdure_console.web.forms import read_form
from perdure_console.web.guard import Guard, is_form_token, is_token, log_in
from perdure_console.web.health import show_health
from perdure_console.web.instance import show_instance
from perdure_console.web.instances import show_instances
from perdure_console.web.live import stream_changes
from perdure_console.web.pages import HERE, Pages, make_templates
from perdure_console.web.settings import Settings

View: TypeAlias = Callable[[Pages, Request], Awaitable[Response]]


def application(
    provider: Provider,
    *,
    app: Registry | Iterable[Registry] = (),
    token: str | None = None,
    user_header: str | None = None,
    authorize: Callable[[Request], bool | Awaitable[bool]] | None = None,
    read_only: bool = False,
    hide_payloads: bool = False,
    secret: str | None = None,
) -> Starlette:
    """The web page as an ASGI application of an open provider, to serve or to mount.

    Without `token`, `user_header` and `authorize` it lets in requests of this machine alone; see
    `Settings` for what each of them means. With `app`, the code of orchestrations is shown. Pass the
    same `secret` to all processes that serve one page.
    """
    settings = Settings(
        app=[app] if isinstance(app, Registry) else list(app),
        token=token,
        user_header=user_header,
        authorize=authorize,
        read_only=read_only,
        hide_payloads=hide_payloads,
    )
    if secret is not None:
        settings = replace(settings, secret=secret)
    pages = Pages(perdure.Client(provider), settings, make_templates())
    return Starlette(
        routes=[
            _route("/", show_instances, pages),
            _route("/instance", show_instance, pages),
            _route("/health", show_health, pages),
            _route("/live", stream_changes, pages),
            _route("/act", act, pages, "POST"),
            _route("/login", _show_login, pages),
            _route("/login", _log_in, pages, "POST"),
            Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
        ],
        middleware=[Middleware(Guard, settings=settings)],
    )


def _route(path: str, view: View, pages: Pages, method: str = "GET") -> Route:
    async def serve(request: Request) -> Response:
        try:
            return await view(pages, request)
        except PerdureError as error:
            values = {"title": "Not shown", "problem": str(error), "live": None}
            status = 400 if isinstance(error, InvalidInput) else 503
            return pages.render(request, "problem.html", values, status=status)

    return Route(path, serve, methods=[method])


async def _show_login(pages: Pages, request: Request) -> Response:
    values = {"title": "Log in", "problem": "", "live": None}
    return pages.render(request, "login.html", values)


async def _log_in(pages: Pages, request: Request) -> Response:
    form = await read_form(request)
    is_ours = is_form_token(request, pages.settings, form.get("form_token"))
    if not (is_ours and is_token(form.get("token"), pages.settings)):
        values = {"title": "Log in", "problem": "That is not the token.", "live": None}
        return pages.render(request, "login.html", values, status=403)
    response = RedirectResponse(f"{request.scope.get('root_path', '')}/", 303)
    log_in(response, request, pages.settings)
    return response
