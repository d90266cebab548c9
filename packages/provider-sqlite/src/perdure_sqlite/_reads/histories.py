"""Histories: pages of events, checked for gaps.

Events are numbered without gaps, and the instance's row has the number of the last one. A file that
has lost events is therefore noticed, and the caller never gets a page with a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

from perdure.contract import MAX_BYTES_PER_DELIVERY, HistoryPage, StoredEvent

from perdure_sqlite._file.errors import DamagedRecord
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._sql.instances import READ_EVENTS
from perdure_sqlite._sql.management import COUNT_EVENTS

_EVENTS_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class History:
    """The history of one execution."""

    instance: str
    number: int
    """The instance's number in the file."""
    execution: int

    def page(self, reader: Reader, after: int, *, last: int) -> HistoryPage:
        """One page of events: bounded in number and bytes, at least one where there is one.

        `last` is the number of the last event, read before: others may have come since.
        """
        key = (self.number, self.execution, after, _EVENTS_PER_PAGE + 1)
        events: list[StoredEvent] = []
        size = 0
        for number, data in reader.execute(READ_EVENTS, key):
            if number != after + len(events) + 1 or type(data) is not bytes:
                raise self._without(after + len(events) + 1)
            size += len(data)
            if events and (len(events) == _EVENTS_PER_PAGE or size > MAX_BYTES_PER_DELIVERY):
                return HistoryPage(events=tuple(events), more=True)
            events.append(StoredEvent(number=number, data=data))
        if after + len(events) < last:
            raise self._without(after + len(events) + 1)
        return HistoryPage(events=tuple(events), more=False)

    def count(self, reader: Reader) -> int:
        """How many events the execution had when it ended."""
        found = reader.execute(COUNT_EVENTS, (self.number, self.execution)).fetchone()
        if found is None:
            raise DamagedRecord(self.instance, f"the end of execution {self.execution} is lost")
        return found[0]

    def _without(self, number: int) -> DamagedRecord:
        return DamagedRecord(
            self.instance, f"event {number} of execution {self.execution} is missing"
        )
