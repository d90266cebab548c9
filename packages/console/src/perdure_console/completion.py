"""Completion of instance ids in a shell, where the storage answers in time."""

from __future__ import annotations

import asyncio
import os
from typing import Final, cast

import perdure
import typer

_MOST: Final = 50
_PATIENCE: Final = 1.0
"""Seconds; a shell that hangs is worse than one that completes nothing."""


def complete_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The newest ids that begin so; none where the storage does not answer."""
    url = _url(context)
    if url is None:
        return []
    try:
        return asyncio.run(asyncio.wait_for(_ids(url, incomplete), _PATIENCE))
    except (perdure.PerdureError, OSError, TimeoutError):
        return []


def _url(context: typer.Context) -> str | None:
    for each in (context, context.parent):
        if each is not None and each.params.get("url"):
            return cast("str", each.params["url"])
    return os.environ.get("PERDURE_URL")


async def _ids(url: str, prefix: str) -> list[str]:
    async with perdure.open_provider(url, create=False) as provider:
        page = await perdure.Client(provider).list_instances(
            perdure.InstanceFilter(id_prefix=prefix), limit=_MOST
        )
        return [info.instance for info in page]
