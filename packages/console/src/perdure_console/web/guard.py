"""Who is let in, which requests may change something, and the headers of every answer.

A request that changes something must carry a token that a page of this application was rendered
with, and come from this origin: three things must fail together before another site's page can
press a button (the cookie's `SameSite`, the browser's own headers, the token).
"""

from __future__ import annotations

import hmac
import inspect
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure_console.web.settings import Settings
from perdure_console.web.signing import is_signed, sign

LOGIN: Final = "perdure_login"
"""The cookie of people who have logged in."""
VISIT: Final = "perdure_visit"
"""The cookie that the tokens of forms belong to."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: a form would then be sent with the origin `null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PUBLIC: Final = ("/static/", "/login")
"""What is served to people who are not logged in."""


class Guard:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        visit = request.cookies.get(VISIT)
        scope["perdure_visit"] = visit or secrets.token_hex(16)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if visit is None:
                    headers.append("Set-Cookie", _cookie(request, VISIT, scope["perdure_visit"]))
            await send(message)

        refusal = await self._refusal(request)
        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _refusal(self, request: Request) -> Response | None:
        if (reason := self._why_not_from_here(request)) is not None:
            return _refuse(reason)
        path = _path_of(request)
        if not any(path.startswith(public) for public in _PUBLIC) and not await self._lets_in(
            request
        ):
            if self._settings.token is not None and request.method == "GET":
                return RedirectResponse(f"{request.scope.get('root_path', '')}/login", 303)
            return _refuse("you are not logged in", HTTPStatus.UNAUTHORIZED)
        if request.method not in ("GET", "HEAD", "POST"):
            return _refuse(
                f"the method {request.method} is not served", HTTPStatus.METHOD_NOT_ALLOWED
            )
        if request.method == "POST":
            if self._settings.read_only and path != "/login":
                return _refuse("this page only reads; serve it without read_only to act")
            if not _is_from_this_origin(request.headers):
                return _refuse("the request comes from another site")
        return None

    def _why_not_from_here(self, request: Request) -> str | None:
        """A page without logins answers this machine alone, asked for by a name of this machine.

        The name matters: another site can have its own name point at 127.0.0.1.
        """
        if not self._settings.is_for_loopback:
            return None
        client = "" if request.client is None else request.client.host
        if client not in _LOOPBACK:
            return "only this machine is let in; set a token, or name the header of a reverse proxy"
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
        if host not in _LOOPBACK:
            return f"the host {host!r} is no name of this machine; ask for 127.0.0.1"
        return None

    async def _lets_in(self, request: Request) -> bool:
        settings = self._settings
        if settings.is_for_loopback:
            return True
        if settings.authorize is not None:
            answer = settings.authorize(request)
            if await answer if inspect.isawaitable(answer) else answer:
                return True
        if settings.user_header is not None and request.headers.get(settings.user_header):
            return True
        return settings.token is not None and is_logged_in(request, settings)


def is_logged_in(request: Request, settings: Settings) -> bool:
    """Whether the request has the token, or the cookie of a login with it."""
    if settings.token is None:
        return False
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and is_token(given, settings):
        return True
    cookie = request.cookies.get(LOGIN, "")
    return hmac.compare_digest(cookie.encode(), _login(settings).encode())


def is_token(given: str, settings: Settings) -> bool:
    """Whether this is the token; it takes as long if it is not."""
    expected = settings.token or ""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


def log_in(response: Response, request: Request, settings: Settings) -> None:
    """Set the cookie of a login."""
    response.headers.append("Set-Cookie", _cookie(request, LOGIN, _login(settings)))


def _login(settings: Settings) -> str:
    return sign(settings.secret, "login", settings.token or "")


def form_token(request: Request, settings: Settings) -> str:
    """What every form of a page carries."""
    return sign(settings.secret, "form", str(request.scope["perdure_visit"]))


def is_form_token(request: Request, settings: Settings, given: str) -> bool:
    """Whether the form was rendered for this browser."""
    visit = request.cookies.get(VISIT)
    return visit is not None and is_signed(settings.secret, "form", visit, given)


def _cookie(request: Request, name: str, value: str) -> str:
    path = f"{request.scope.get('root_path', '')}/"
    secure = "; Secure" if request.url.scheme == "https" else ""
    return f"{name}={value}; Path={path}; HttpOnly; SameSite=Strict{secure}"


def _path_of(request: Request) -> str:
    root = str(request.scope.get("root_path", ""))
    return request.scope["path"].removeprefix(root) or "/"


def _is_from_this_origin(headers: Headers) -> bool:
    """By what browsers say of a request; what is no browser says nothing."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _refuse(reason: str, status: HTTPStatus = HTTPStatus.FORBIDDEN) -> Response:
    return PlainTextResponse(f"{reason}\n", status)
