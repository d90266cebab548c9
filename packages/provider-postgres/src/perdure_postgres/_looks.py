"""Looks for work: what they ask the database for, and what they remember from one to the next."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

from perdure.clock import Clock, to_microseconds
from perdure.contract import (
    ActivityRequest,
    Instant,
    LeasedActivity,
    LeasedTurn,
    Serves,
    TurnRequest,
    WorkWait,
)
from perdure.errors import ProviderError, StorageUnavailable

from perdure_postgres._calls import as_json
from perdure_postgres._opening import OpenDatabase
from perdure_postgres._rows import activity_of, turns_of
from perdure_postgres._texts import stored
from perdure_postgres._waits import ALWAYS, Outlook

Result = TypeVar("Result")

_LOGGER: Final = logging.getLogger("perdure.postgres")
_TOKENS: Final = 10_000


class Looks:
    """The looks for work of one provider object."""

    def __init__(self, clock: Clock, *, relaxed: bool) -> None:
        self._clock = clock
        self._relaxed = relaxed
        """Whether a lease need not be on the disk before it is answered."""
        self._turn_tokens = _Tokens()
        self._activity_tokens = _Tokens()

    def note_activities(self, token: str) -> None:
        """Remember that activities are leased under a token by a commit."""
        self._activity_tokens.add(token)

    async def lease_turns(self, opened: OpenDatabase, request: TurnRequest) -> Sequence[LeasedTurn]:
        """Lease turns, those first that the token has already."""
        now = self._clock.now()
        wanted = _turns_wanted(request.serves)
        asked: dict[str, object] = {
            "token": stored(request.token),
            "until": now + to_microseconds(request.lease_for),
            "limit": request.limit,
            **wanted,
            **self._asked(self._turn_tokens, request.token, request.unregistered_for, now),
        }

        def read(rows: Sequence[tuple[Any, ...]]) -> Sequence[LeasedTurn]:
            leased, damaged = turns_of(rows, request)
            for damage in damaged:
                _LOGGER.error("a turn cannot be leased: %s", damage)
            return leased

        outlook = opened.waits.turns
        return await self._lease("lease_turns", opened, now, asked, read, wanted, outlook)

    async def lease_activities(
        self, opened: OpenDatabase, request: ActivityRequest
    ) -> Sequence[LeasedActivity]:
        """Lease activities, those first that the token has already."""
        now = self._clock.now()
        wanted = _activities_wanted(request.names, request.tags)
        asked: dict[str, object] = {
            "token": stored(request.token),
            "until": now + to_microseconds(request.lease_for),
            "limit": request.limit,
            **wanted,
            **self._asked(self._activity_tokens, request.token, request.unregistered_for, now),
        }

        def read(rows: Sequence[tuple[Any, ...]]) -> Sequence[LeasedActivity]:
            return [activity_of(fields, data, request) for part, fields, data in rows if part == 0]

        outlook = opened.waits.activities
        return await self._lease("lease_activities", opened, now, asked, read, wanted, outlook)

    def look_of(self, opened: OpenDatabase, wait: WorkWait) -> Callable[[], Awaitable[Instant]]:
        """What a wait for work looks by: the look tells when there is something to lease."""
        looks: list[tuple[str, Mapping[str, object], Outlook]] = []
        if wait.serves is not None:
            looks.append(("next_turn", _turns_wanted(wait.serves), opened.waits.turns))
        if wait.activity_names:
            wanted = _activities_wanted(wait.activity_names, wait.activity_tags)
            looks.append(("next_activity", wanted, opened.waits.activities))

        async def look() -> Instant:
            now, at = self._clock.now(), ALWAYS
            for function, wanted, outlook in looks:
                asked = as_json(wanted)
                due = outlook.due(asked)
                if due is None:
                    begun = outlook.begin()
                    first = outlook.heads.first(asked)
                    given = asked if first is None else as_json({**wanted, "from": first})
                    [(due,)] = await opened.calls.read("wait_for_work", function, now, given)
                    due = ALWAYS if due is None else due
                    if opened.signals.hears:
                        outlook.found_nothing(asked, begun, due, now=now)
                at = min(at, due)
                if at <= now:
                    break
            return at

        return look

    def _asked(
        self, tokens: _Tokens, token: str, unregistered_for: timedelta | None, now: Instant
    ) -> dict[str, object]:
        """What both looks for work ask for alike."""
        asked: dict[str, object] = {}
        if token in tokens:
            asked["repeated"] = True
        tokens.add(token)
        if unregistered_for is not None:
            asked["latest"] = now - to_microseconds(unregistered_for)
        if self._relaxed:
            asked["relaxed"] = True
        return asked

    async def _lease(
        self,
        operation: str,
        opened: OpenDatabase,
        now: Instant,
        asked: dict[str, object],
        read: Callable[[Sequence[tuple[Any, ...]]], Sequence[Result]],
        wanted: Mapping[str, object],
        outlook: Outlook,
    ) -> Sequence[Result]:
        """Look for work; wait for rows that other transactions had locked, and look at these again."""
        calls = opened.calls
        begun = outlook.begin() if opened.signals.hears else None
        served = as_json(wanted)
        if (first := outlook.heads.next_first(served)) is not None:
            asked = {**asked, "from": first}
        started = time.monotonic()
        try:
            rows = await calls.call(operation, operation, now, asked, repeatable=False)
        except StorageUnavailable:
            # The leases may have been given, and only their answer be lost.
            rows = await calls.call(
                operation, operation, now, {**asked, "repeated": True}, repeatable=True
            )
        leased = list(read(rows))
        skipped = [fields for *_, part, fields, _ in rows if part == 9]
        notes = {part: fields for *_, part, fields, _ in rows if part in (7, 8)}
        took = time.monotonic() - started
        outlook.heads.learn(served, notes.get(7), began_at=first, took=took)
        if 8 in notes and begun is not None:
            due = ALWAYS if notes[8] is None else notes[8]
            outlook.found_nothing(served, begun, due, now=now)
        room = cast("int", asked["limit"]) - len(leased)
        wait_for = opened.held.worth_waiting_for(skipped[0]) if skipped and room > 0 else []
        if wait_for:
            again = {name: value for name, value in asked.items() if name != "repeated"}
            again |= {"limit": room, "wait_for": wait_for}
            try:
                rows = await calls.call(operation, operation, now, again, repeatable=False)
                leased += read(rows)
            except ProviderError as error:
                # What was leased is returned; the others are found by the next look.
                _LOGGER.info("locked work was passed over: %s", error)
                opened.held.pass_over(skipped[0])
        return leased


class _Tokens:
    """The tokens of the latest leases: a look for work under one of them is told what it has.

    No index finds a lease by its token, since every lease would write it. Core repeats a token soon,
    or never.
    """

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, token: str) -> bool:
        return token in self._tokens

    def add(self, token: str) -> None:
        """Remember a token, and forget the oldest."""
        self._tokens[token] = None
        if len(self._tokens) > _TOKENS:
            self._tokens.popitem(last=False)


def _turns_wanted(serves: Serves) -> dict[str, object]:
    """What a look for turns looks for."""
    pins = [
        {"name": stored(name), "pin": pin}
        for name, versions in serves.orchestrations.items()
        for pin in ("", *(f"={stored(version)}" for version in versions))
    ]
    return {"engine": serves.engine, "serves": pins}


def _activities_wanted(names: Iterable[str], tags: Iterable[str | None]) -> dict[str, object]:
    """What a look for activities looks for."""
    return {
        "names": [stored(name) for name in names],
        "tags": ["" if tag is None else f"={stored(tag)}" for tag in tags],
    }
