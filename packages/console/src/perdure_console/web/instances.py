"""The page of instances: a table that is filtered by the address of the page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from perdure import InstanceFilter, InstanceInfo, Page
from perdure.errors import PerdureError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from perdure_console.choosing import labels_of, moment_of
from perdure_console.web.pages import Pages

_PAGE: Final = 50
_STATUSES: Final = ("Running", "Completed", "Failed")
FIELDS: Final = (
    "prefix", "status", "orchestration", "label", "parked", "roots", "parent",
    "updated_after", "updated_before", "created_after", "created_before",
)  # fmt: skip


async def show_instances(pages: Pages, request: Request) -> Response:
    """The table, or why it cannot be shown."""
    query = request.query_params
    found: Page[InstanceInfo] = Page([])
    problem = ""
    try:
        found = await find(pages, query)
    except PerdureError as error:
        problem = str(error)
    chosen: Mapping[str, object] = {name: query.getlist(name) for name in FIELDS if query.get(name)}
    return pages.render(
        request,
        "instances.html",
        {
            "title": "Instances",
            "instances": found,
            "problem": problem,
            "query": query,
            "chosen": chosen,
            "statuses": _STATUSES,
            "is_filtered": bool(chosen),
            "token": query.get("token"),
            "hide": pages.settings.hide_payloads,
            "live": {
                "page": "instances",
                **chosen,
                "token": query.get("token"),
                "seen": fingerprint(found),
            },
        },
        status=400 if problem else 200,
    )


async def find(pages: Pages, query: QueryParams) -> Page[InstanceInfo]:
    """A page of what matches; a listing may answer with a short one, which is filled up."""
    wanted = _filter(query)
    found: list[InstanceInfo] = []
    token = query.get("token") or None
    for _ in range(5):
        page = await pages.client.list_instances(wanted, limit=_PAGE - len(found), token=token)
        found.extend(page)
        token = page.next_token
        if token is None or len(found) == _PAGE:
            break
    return Page(found, next_token=token)


def fingerprint(instances: Sequence[InstanceInfo]) -> str:
    """What differs whenever one of them does."""
    text = "\n".join(f"{each!r}" for each in instances)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _filter(query: QueryParams) -> InstanceFilter:
    def moment(name: str) -> datetime | None:
        return moment_of(query.get(name) or None, name.replace("_", " "))

    return InstanceFilter(
        status=[each for each in query.getlist("status") if each],
        orchestration=[each for each in query.getlist("orchestration") if each],
        id_prefix=query.get("prefix", ""),
        labels=labels_of([each for each in query.getlist("label") if each]),
        parked=True if query.get("parked") else None,
        roots_only=bool(query.get("roots")),
        parent=query.get("parent") or None,
        created_after=moment("created_after"),
        created_before=moment("created_before"),
        updated_after=moment("updated_after"),
        updated_before=moment("updated_before"),
    )
