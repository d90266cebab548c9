"""Rendering: templates in which everything is escaped, and what all pages have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlencode

import perdure
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from perdure_console.texts import duration_in_words, in_utc, state_of
from perdure_console.web.guard import form_token, is_logged_in
from perdure_console.web.settings import Settings
from perdure_console.web.signing import pack, unpack

HERE: Final = Path(__file__).parent
_FLASH: Final = "perdure_said"


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages of one application share."""

    client: perdure.Client
    settings: Settings
    templates: Environment

    def render(
        self, request: Request, template: str, values: Mapping[str, object], status: int = 200
    ) -> Response:
        """The page; a message of the request before is shown once."""
        root = str(request.scope.get("root_path", ""))
        said = unpack(self.settings.secret, "said", request.cookies.get(_FLASH, "."))
        text = self.templates.get_template(template).render(
            root=root,
            url=lambda path, **query: _url(root, path, query),  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType] # called by templates
            here=request.url.path,
            said=said if isinstance(said, dict) else None,
            form_token=form_token(request, self.settings),
            storage=self.client.provider.description,
            read_only=self.settings.read_only,
            has_app=bool(self.settings.app),
            may_log_out=is_logged_in(request, self.settings),
            **values,
        )
        response = HTMLResponse(text, status)
        if said is not None:
            response.delete_cookie(_FLASH, path=f"{root}/")
        return response

    def say(self, response: Response, request: Request, text: str, *, is_bad: bool = False) -> None:
        """Have the next page show a message."""
        root = request.scope.get("root_path", "")
        packed = pack(self.settings.secret, "said", {"text": text[:1500], "is_bad": is_bad})
        response.set_cookie(
            _FLASH, packed, max_age=60, path=f"{root}/", httponly=True, samesite="strict"
        )


def make_templates() -> Environment:
    """The templates, with the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Callable[..., object]] = {
        "utc": in_utc,
        "ago": ago,
        "iso": datetime.isoformat,
        "state": state_of,
        "word": _first_word,
        "many": _with_commas,
        "duration": duration_in_words,
    }
    environment.filters.update(filters)
    return environment


def _first_word(text: str) -> str:
    return text.partition(" ")[0]


def _with_commas(number: int) -> str:
    return f"{number:,}"


def ago(moment: datetime) -> str:
    """How long ago an instant was, or how long from now it is."""
    passed = datetime.now(UTC) - moment
    if passed.total_seconds() < 0:
        return f"in {duration_in_words(-passed)}"
    if passed.total_seconds() < 2:
        return "now"
    return f"{duration_in_words(passed)} ago"


def _url(root: str, path: str, query: Mapping[str, object]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if isinstance(value, list | tuple):
            pairs.extend((name, str(each)) for each in cast("Sequence[object]", value))
        elif value not in (None, ""):
            pairs.append((name, str(value)))
    return f"{root}{path}" + (f"?{urlencode(pairs)}" if pairs else "")
