"""Server-sent events: a page that is open hears of every change of what it shows, and asks again.

The event says only that something has changed. The page then fetches itself, so there is one way
to render it. The page names what it was rendered from, so no change between its rendering and the
beginning of the stream is missed, and none is told twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from perdure.errors import PerdureError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from perdure_console.web.instances import find, fingerprint
from perdure_console.web.pages import Pages

_INTERVAL: Final = 1.0
"""Seconds between two looks at what cannot be watched."""
_SHORTEST: Final = 0.25
"""Seconds between two events, so that a busy instance does not keep a browser busy."""
_LONGEST: Final = 15.0
"""Seconds without an event, after which a comment shows that the connection stands."""
_CHANGE: Final = "event: change\ndata: \n\n"


async def stream_changes(pages: Pages, request: Request) -> Response:
    """A stream that lasts as long as the page is open."""
    page = request.query_params.get("page")
    if page == "instance":
        query = request.query_params
        changes = _of_instance(pages, query.get("id", ""), query.get("seen", ""))
    elif page == "instances":
        changes = _of_listing(pages, request)
    elif page == "health":
        changes = _of_health(pages)
    else:
        return PlainTextResponse("there is no such page\n", 404)
    return StreamingResponse(_paced(changes), media_type="text/event-stream")


async def _paced(changes: AsyncGenerator[None]) -> AsyncGenerator[str]:
    yield "retry: 2000\n\n"
    following = asyncio.ensure_future(anext(changes, "over"))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=_LONGEST)
            if not done:
                yield ": still here\n\n"
                continue
            if following.result() == "over":
                yield "event: over\ndata: \n\n"
                return
            yield _CHANGE
            await asyncio.sleep(_SHORTEST)
            following = asyncio.ensure_future(anext(changes, "over"))
    except PerdureError:
        return  # the browser asks again
    finally:
        following.cancel()


async def _of_instance(pages: Pages, instance: str, seen: str) -> AsyncGenerator[None]:
    while True:
        execution = 0
        async for info in pages.client.watch_instance(instance):
            execution = info.execution
            if fingerprint([info]) != seen:
                yield
            seen = ""
        # It has ended, and may be retried or rewound. A deletion ends the stream.
        while True:
            await asyncio.sleep(_INTERVAL)
            if (await pages.client.get_instance_info(instance)).execution != execution:
                break


async def _of_listing(pages: Pages, request: Request) -> AsyncGenerator[None]:
    before = request.query_params.get("seen", "")
    while True:
        now = fingerprint(await find(pages, request.query_params))
        if now != before:
            before = now
            yield
        await asyncio.sleep(_INTERVAL)


async def _of_health(pages: Pages) -> AsyncGenerator[None]:
    while True:
        await asyncio.sleep(5 * _INTERVAL)
        yield
