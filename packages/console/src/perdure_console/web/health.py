"""The page of queues and health: what waits, what stands still, and what the last minutes brought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from perdure import InstanceFilter, InstanceInfo
from starlette.requests import Request
from starlette.responses import Response

from perdure_console.web.pages import Pages

_AGES: Final = (
    ("30 days", timedelta(days=30)),
    ("7 days", timedelta(days=7)),
    ("a day", timedelta(days=1)),
    ("an hour", timedelta(hours=1)),
    ("5 minutes", timedelta(minutes=5)),
)
_MINUTES: Final = 15
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended in a minute."""

    begin: datetime
    completed: int
    failed: int


async def show_health(pages: Pages, request: Request) -> Response:
    """The page."""
    client, now = pages.client, datetime.now(UTC)
    parked = await client.list_instances(InstanceFilter(parked=True), limit=_MOST)
    reasons = Counter(info.parked.reason for info in parked if info.parked is not None)
    age, still = await _longest_still(pages, now)
    minutes, is_partial = await _ended(pages, now)
    most = max((each.completed + each.failed for each in minutes), default=0)
    return pages.render(
        request,
        "health.html",
        {
            "title": "Queues and health",
            "counts": await client.get_system_metrics(),
            "depths": await client.get_queue_depths(),
            "parked": reasons.most_common(),
            "parked_more": parked.next_token is not None,
            "still": still,
            "age": age,
            "minutes": minutes,
            "is_partial": is_partial,
            "most": most,
            "ended": sum(each.completed + each.failed for each in minutes),
            "hide": pages.settings.hide_payloads,
            "live": {"page": "health"},
        },
    )


async def _longest_still(pages: Pages, now: datetime) -> tuple[str, Sequence[InstanceInfo]]:
    """Some running instances that have gone without a turn for longest, and for how long about."""
    for words, age in _AGES:
        wanted = InstanceFilter(status="Running", updated_before=now - age)
        found = await pages.client.list_instances(wanted, limit=5)
        if found:
            return words, found
    return "", ()


async def _ended(pages: Pages, now: datetime) -> tuple[list[Minute], bool]:
    """What ended in the last minutes; of more than a thousand instances only the newest are counted."""
    begin = now - timedelta(minutes=_MINUTES)
    wanted = InstanceFilter(status=("Completed", "Failed"), updated_after=begin)
    found = await pages.client.list_instances(wanted, limit=_MOST)
    ended = Counter(
        (int((info.updated_at - begin).total_seconds() // 60), info.status.value) for info in found
    )
    minutes = [
        Minute(
            begin + timedelta(minutes=number),
            ended[number, "Completed"],
            ended[number, "Failed"],
        )
        for number in range(_MINUTES)
    ]
    return minutes, found.next_token is not None
