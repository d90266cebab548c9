"""The mailbox of one instance: its messages in order.

A message is put in its place on arrival, so a delivery reads from the front without sorting.
Whether a message is visible is decided when it is read, because clocks differ and step back.
Scheduled messages are kept apart from those that are visible at any time. The store decides which
messages are void.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import count, takewhile
from typing import TypeAlias

from perdure.contract import CANCEL_ID, Instant, Message, MessageKind, first_page

_Rank: TypeAlias = tuple[int, int, int, int]
"""Start, front or usual; an instant, negative at the front; the batch at the front; the arrival.

The instant is the due time of a usual message, and the arrival stamp of the others.
"""

_START, _FRONT, _USUAL = 0, 1, 2


class Mailbox:
    """Messages by id and in order."""

    __slots__ = (
        "_arrivals",
        "_batches",
        "_early",
        "_messages",
        "_of_execution",
        "_open",
        "_ranks",
        "_timed",
    )

    def __init__(self) -> None:
        self._ranks: dict[str, _Rank] = {}
        self._messages: dict[_Rank, Message] = {}
        self._open: list[_Rank] = []
        """Messages without a due time."""
        self._timed: list[_Rank] = []
        """Usual messages with a due time, which orders them."""
        self._early: list[_Rank] = []
        """Start and front messages with a due time, which does not order them."""
        self._of_execution: dict[int, set[str]] = {}
        """Ids by the execution that they name."""
        self._arrivals = count()
        self._batches = count()

    def __len__(self) -> int:
        return len(self._ranks)

    def __iter__(self) -> Iterator[Message]:
        """All messages, in no particular order."""
        return iter(tuple(self._messages.values()))

    def in_order(self) -> Iterator[Message]:
        """All messages, visible or not, in the order of delivery."""
        return (self._messages[rank] for rank in sorted(self._messages))

    def put(self, message: Message, stamp: Instant) -> None:
        """Add a message that arrived at the stamp; a message whose id is held is dropped."""
        if message.id in self._ranks:
            return
        if message.kind is MessageKind.START:
            rank = (_START, stamp, 0, next(self._arrivals))
        else:
            due = stamp if message.visible_at is None else message.visible_at
            rank = (_USUAL, due, 0, next(self._arrivals))
        self._add(message, rank)

    def put_front(self, messages: Iterable[Message], stamp: Instant) -> None:
        """Put messages ahead of all but the start message, in this order; each replaces its held copy."""
        batch = -next(self._batches)
        for message in messages:
            self.discard((message.id,))
            if message.kind is MessageKind.START:
                self._add(message, (_START, stamp, 0, next(self._arrivals)))
            else:
                self._add(message, (_FRONT, -stamp, batch, next(self._arrivals)))

    def discard(self, ids: Iterable[str]) -> None:
        """Remove messages; unknown ids have no effect."""
        gone: dict[int, list[_Rank]] = {}
        lists = (self._open, self._timed, self._early)
        for message_id in ids:
            rank = self._ranks.pop(message_id, None)
            if rank is not None:
                message = self._messages.pop(rank)
                gone.setdefault(self._list_of(message, rank), []).append(rank)
                if message.execution is not None:
                    self._of_execution[message.execution].discard(message_id)
        for number, ranks in gone.items():
            _cut(lists[number], ranks)

    def discard_execution(self, execution: int) -> None:
        """Remove messages that name this execution."""
        self.discard(tuple(self._of_execution.get(execution, ())))
        self._of_execution.pop(execution, None)

    def deliver(
        self, now: Instant, held: Collection[str] = frozenset()
    ) -> tuple[tuple[Message, ...], bool]:
        """The visible messages in order, without those in `held`, and whether there are more."""
        if not self._ranks:
            return (), False
        messages = (self._messages[rank] for rank in self._visible(now))
        if held:
            messages = (message for message in messages if message.id not in held)
        page, more = first_page(messages, lambda message: len(message.data))
        if more:
            page += self._cancellation_behind(page, now, held)
        return tuple(page), more

    def _cancellation_behind(
        self, page: Sequence[Message], now: Instant, held: Collection[str]
    ) -> list[Message]:
        """The visible cancellation, if it is not in the page (MAIL-16)."""
        rank = self._ranks.get(CANCEL_ID)
        if rank is None or CANCEL_ID in held:
            return []
        found = self._messages[rank]
        is_visible = found.visible_at is None or found.visible_at <= now
        is_one = found.kind is MessageKind.CANCEL and is_visible
        return [found] if is_one and found not in page else []

    def visible_since(self, now: Instant) -> Instant | None:
        """Since when a message has been visible without interruption; None if none is."""
        usual = bisect_left(self._open, (_USUAL,))
        # The oldest front message comes last, so these are the oldest start, front and usual ones.
        ranks = (*self._open[:1], *self._open[max(0, usual - 1) : usual + 1])
        since = [abs(rank[1]) for rank in ranks]
        since += [rank[1] for rank in self._timed[:1] if rank[1] <= now]
        since += [due for due in self._early_dues() if due <= now]
        return min(since, default=None)

    def next_due(self) -> Instant | None:
        """The earliest due time that any message has, or None."""
        dues = [rank[1] for rank in self._timed[:1]]
        return min(dues + self._early_dues(), default=None)

    def count_visible(self, now: Instant) -> int:
        """How many messages are visible."""
        timed = bisect_left(self._timed, (_USUAL, now + 1))
        return len(self._open) + timed + sum(due <= now for due in self._early_dues())

    def _add(self, message: Message, rank: _Rank) -> None:
        self._ranks[message.id] = rank
        self._messages[rank] = message
        insort((self._open, self._timed, self._early)[self._list_of(message, rank)], rank)
        if message.execution is not None:
            self._of_execution.setdefault(message.execution, set()).add(message.id)

    @staticmethod
    def _list_of(message: Message, rank: _Rank) -> int:
        if message.visible_at is None:
            return 0
        return 1 if rank[0] == _USUAL else 2

    def _early_dues(self) -> list[Instant]:
        dues = (self._messages[rank].visible_at for rank in self._early)
        return [due for due in dues if due is not None]

    def _visible(self, now: Instant) -> Iterable[_Rank]:
        if not self._timed and not self._early:
            return self._open
        timed = takewhile(lambda rank: rank[1] <= now, self._timed)
        early = (
            rank
            for rank in self._early
            if (due := self._messages[rank].visible_at) is not None and due <= now
        )
        return merge(self._open, timed, early)


def _cut(order: list[_Rank], ranks: Iterable[_Rank]) -> None:
    """Delete these ranks, adjacent ones together: removing many from a long list moves it once."""
    places = sorted((bisect_left(order, rank) for rank in ranks), reverse=True)
    end = begin = places[0] + 1
    for place in places:
        if place != begin - 1:
            del order[begin:end]
            end = place + 1
        begin = place
    del order[begin:end]
