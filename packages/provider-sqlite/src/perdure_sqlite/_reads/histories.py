"""Histories: pages of events, checked for gaps.

Events are numbered without gaps, and the instance's row has the number of the last one. A file that
has lost events is therefore noticed, and the caller never gets a page with a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

from perdure.contract import (
    MAX_MESSAGES_PER_DELIVERY,
    HistoryPage,
    StoredEvent,
    checked_page,
    first_page,
    missing_event,
)

from perdure_sqlite._file.errors import DamagedRecord
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._sql.instances import READ_EVENTS
from perdure_sqlite._sql.management import COUNT_EVENTS


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
        page, more = first_page(events, lambda event: len(event.data))
        return checked_page(self.instance, self.execution, page, after=after, last=last, more=more)

    def count(self, reader: Reader) -> int:
        """How many events the execution had when it ended."""
        found = reader.execute(COUNT_EVENTS, (self.number, self.execution)).fetchone()
        if found is None:
            raise DamagedRecord(self.instance, f"the end of execution {self.execution} is lost")
        return found[0]

    def _event(self, number: int, data: object) -> StoredEvent:
        if type(data) is not bytes:
            raise missing_event(self.instance, self.execution, number)
        return StoredEvent(number=number, data=data)
