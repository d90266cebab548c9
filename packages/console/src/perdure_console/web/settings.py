"""What the web page may show and do, and for whom. The defaults let in this machine alone."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from perdure import Registry
from perdure.errors import InvalidInput
from starlette.requests import Request

SHORTEST_TOKEN = 16
"""In characters; a shorter one is guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an application is set up; without `token`, `user_header` and `authorize` it is for loopback."""

    token: str | None = None
    """What people log in with, or send as `Authorization: Bearer`."""
    user_header: str | None = None
    """A header that a reverse proxy in front sets for people that it has let in, and removes from
    other requests."""
    authorize: Callable[[Request], bool | Awaitable[bool]] | None = None
    """Whether a request is let in, for an application with logins of its own that mounts the page."""
    read_only: bool = False
    """Whether there are no buttons, and every request that would change something is refused."""
    hide_payloads: bool = False
    """Whether inputs, results, values, statuses and error messages are hidden."""
    app: Sequence[Registry] = ()
    """The code whose lines are shown."""
    secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    """What forms are signed with; the same in all processes that serve the page."""

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise InvalidInput(
                f"the token has {len(self.token)} characters; use {SHORTEST_TOKEN} or more, such as"
                " from `openssl rand -hex 16`"
            )

    @property
    def is_for_loopback(self) -> bool:
        """Whether only this machine is let in."""
        return self.token is None and self.user_header is None and self.authorize is None
