"""Listings by creation, and the tokens that lead from page to page.

An instance keeps its place, which is its time of creation and its id, whatever its status
becomes; a token is the place of the last id of a page. So pages neither overlap nor leave gaps.
Those that run are read before those that ended: an instance that ends meanwhile is met in one of
the two at least, and listed once.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from heapq import merge
from itertools import islice

from perdure.contract import IdPage, InstanceStatus
from perdure.errors import InvalidInput

from perdure_dynamodb._keys import Keys
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._table import Select, Table, at_once

_SIGNED = 8
_RUNNING = (InstanceStatus.RUNNING,)
_ENDED = (InstanceStatus.COMPLETED, InstanceStatus.FAILED)


async def list_page(
    table: Table,
    keys: Keys,
    shards: Shards,
    *,
    status: InstanceStatus | None,
    limit: int,
    token: str | None,
) -> IdPage:
    """A page of ids, newest first."""
    purpose = f"{keys.prefix}{status or 'all'}"
    before = None if token is None else read_token(token, purpose)
    places: list[Sequence[str]] = []
    for statuses in (_RUNNING, _ENDED) if status is None else ((status,),):
        selects = [
            Select(
                partition=keys.listing(each.value, shard),
                last=before,
                index=True,
                newest_first=True,
                limit=limit + 2,
            )
            for each in statuses
            for shard in shards.all
        ]
        places += await at_once(
            _read_places(table, select, limit + 2, before) for select in selects
        )
    newest = dict.fromkeys(merge(*places, reverse=True))
    chosen = list(islice(newest, limit + 1))
    more = len(chosen) > limit
    chosen = chosen[:limit]
    return IdPage(
        ids=tuple(place.partition("#")[2] for place in chosen),
        next_token=make_token(chosen[-1], purpose) if more else None,
    )


async def _read_places(
    table: Table, select: Select, limit: int, before: str | None
) -> Sequence[str]:
    places: list[str] = []
    rows = table.query_all(select)
    try:
        async for row in rows:
            if row.text("gsk") != before:
                places.append(row.text("gsk"))
            if len(places) >= limit:
                break
    finally:
        await rows.aclose()
    return places


def make_token(place: str, purpose: str) -> str:
    """The token that leads on behind a place, in a listing for a purpose."""
    return base64.urlsafe_b64encode(_digest(place, purpose) + place.encode()).decode()


def read_token(token: str, purpose: str) -> str:
    """The place of a token; raises `InvalidInput` for one that was not made for this purpose."""
    try:
        data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        place = data[_SIGNED:].decode()
    except ValueError:
        place, data = "", b""
    if not place or data[:_SIGNED] != _digest(place, purpose):
        raise InvalidInput(
            f"{token!r} is not a page token of this listing; pass the `next_token` of its last page"
        )
    return place


def _digest(place: str, purpose: str) -> bytes:
    return hashlib.sha256(f"{purpose}\n{place}".encode()).digest()[:_SIGNED]
