"""Histories: pages of events, checked for gaps.

Events are numbered without gaps, and the row of the instance or of its ended execution has the number
of the last one. A file that has lost events is therefore noticed, and the caller never gets a page
with a gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from perdure.contract import (
    MAX_MESSAGES_PER_DELIVERY,
    HistoryPage,
    StoredEvent,
    checked_page,
    first_page,
    missing_event,
    unpack_history,
)

from perdure_sqlite._file.errors import DamagedRecord
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._sql.instances import READ_ENDED_HISTORY, READ_EVENTS


@dataclass(frozen=True, slots=True)
class History:
    """The history of one execution."""

    instance: str
    number: int
    """The instance's number in the file."""
    execution: int

    def page(self, reader: Reader, after: int, *, last: int) -> HistoryPage:
        """One page of events after a number; raises `StorageCorrupt` if one is missing.

        `last` is the number of the last event, read before: others may have been appended since.
        """
        key = (self.number, self.execution, after, MAX_MESSAGES_PER_DELIVERY + 1)
        events = (self._event(*row) for row in reader.execute(READ_EVENTS, key))
        return self._page(events, after, last)

    def ended_page(self, reader: Reader, after: int) -> HistoryPage:
        """The same for an execution that has ended."""
        found = reader.execute(READ_ENDED_HISTORY, (self.number, self.execution)).fetchone()
        if found is None:
            raise DamagedRecord(self.instance, f"the end of execution {self.execution} is lost")
        last, packed = found
        if packed is None:
            return self.page(reader, after, last=last)
        events = enumerate(self._unpacked(packed), 1)
        return self._page((self._event(*each) for each in events if each[0] > after), after, last)

    def _page(self, events: Iterable[StoredEvent], after: int, last: int) -> HistoryPage:
        page, more = first_page(events, lambda event: len(event.data))
        return checked_page(self.instance, self.execution, page, after=after, last=last, more=more)

    def _unpacked(self, packed: bytes) -> tuple[bytes, ...]:
        try:
            return unpack_history(packed)
        except (ValueError, TypeError) as error:
            raise DamagedRecord(
                self.instance, f"the history of execution {self.execution} cannot be read ({error})"
            ) from error

    def _event(self, number: int, data: object) -> StoredEvent:
        if type(data) is not bytes:
            raise missing_event(self.instance, self.execution, number)
        return StoredEvent(number=number, data=data)
