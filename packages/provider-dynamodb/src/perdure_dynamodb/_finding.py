"""Finding instances by conditions: pages of bounded cost, whatever is stored.

A listing walks over entries in the order of listings, and looks at the lock item of those that may be
wanted. The entries are those of the most selective condition: the links of a parent, the entries of
a label, those of parked instances, or those of the wanted statuses. Creation times bound the walk.
All entries of an instance stand at one place, which is the time of its creation and its id, so a token
is the place that the walk has come to.

Every state in a page was read, consistently, during the call.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from perdure.contract import (
    MAX_BYTES_PER_DELIVERY,
    InstancePage,
    InstanceQuery,
    InstanceState,
    InstanceStatus,
)
from perdure.errors import StorageCorrupt

from perdure_dynamodb._changes import Changes
from perdure_dynamodb._instance_reads import read_state
from perdure_dynamodb._keys import PARKED, child_key, time_text
from perdure_dynamodb._listing import make_token, read_token
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import size_of
from perdure_dynamodb._stable_reads import read_stably, where_incomplete
from perdure_dynamodb._table import READ_BATCH, Check, Delete, Page, Select, at_once
from perdure_dynamodb._transport import TransactionCancelled
from perdure_dynamodb._values import Row

MOST_ENTRIES = 2000
"""So many entries a page walks over, about; some twenty cost half a unit."""
MOST_LOCKS = 100
"""So many lock items a page reads, or its limit, if that is more; each costs a unit."""

_STATUSES = (InstanceStatus.RUNNING, InstanceStatus.COMPLETED, InstanceStatus.FAILED)
_LOGGER = logging.getLogger("perdure.dynamodb")


@dataclass(frozen=True, slots=True)
class _Source:
    """Partitions that hold entries in the order of listings."""

    partitions: Sequence[str]
    later: Sequence[str] = ()
    """Partitions to which entries of the others move: they are read when the others have been, so
    that an entry that moves meanwhile is met in one of the two."""
    index: bool = True
    prefix: str = ""
    """What the sort keys begin with, ahead of the place."""

    def place_of(self, row: Row) -> str:
        return row.text("gsk") if self.index else row.text("sk")[len(self.prefix) :]


class _Walk:
    """Walks over the entries of a source, newest first, in rounds."""

    def __init__(self, namespace: Namespace, source: _Source, query: InstanceQuery) -> None:
        self._table = namespace.table
        self._source = source
        self._first = "0" if query.created_from is None else time_text(query.created_from)
        # What was changed before an instant was created before it, too.
        bounds = [
            time_text(before)
            for before in (query.created_before, query.updated_before)
            if before is not None
        ]
        self._bound = min(bounds, default="~")
        self.walked = 0
        """Entries that were read."""

    async def round(self, before: str | None, count: int) -> tuple[list[Row], str | None]:
        """Entries behind a place, one of each place, and the place that the next round begins at."""
        pages = [
            page
            for partitions in (self._source.partitions, self._source.later)
            for page in await at_once(
                self._page(partition, before, count) for partition in partitions
            )
        ]
        self.walked += sum(len(page.rows) for page in pages)
        ends = [self._source.place_of(page.rows[-1]) for page in pages if page.next and page.rows]
        frontier = max(ends, default=None)
        rows = {
            place: row
            for page in pages
            for row in page.rows
            if (place := self._source.place_of(row)) != before
            and place < self._bound
            and (frontier is None or place >= frontier)
        }
        return [rows[place] for place in sorted(rows, reverse=True)], frontier

    async def _page(self, partition: str, before: str | None, count: int) -> Page:
        prefix = self._source.prefix
        last = self._bound if before is None else min(before, self._bound)
        if last < self._first:
            return Page((), None)
        return await self._table.query(
            Select(
                partition=partition,
                first=prefix + self._first,
                last=prefix + last,
                index=self._source.index,
                newest_first=True,
                # The entry of `before` itself is among them.
                limit=count + 1,
            )
        )


class Finding:
    """Finds instances of one namespace."""

    def __init__(self, namespace: Namespace, changes: Changes) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._keys = namespace.keys
        self._changes = changes

    async def find(self, query: InstanceQuery, *, limit: int, token: str | None) -> InstancePage:
        """A page of instances that meet the query."""
        purpose = f"{self._keys.prefix}{query.digest()}"
        before = None if token is None else read_token(token, purpose)
        source = self._source(query)
        if not source.partitions:
            return InstancePage(instances=())
        walk, found = _Walk(self._namespace, source, query), _Found(limit, query)
        count = min(limit, READ_BATCH)
        while True:
            rows, frontier = await walk.round(before, count)
            rows = [row for row in rows if self._may_be_wanted(row, source, query)]
            reached = await self._take_from(rows, source, found)
            if reached is not None:
                before = reached
                break
            before = frontier
            if before is None or walk.walked >= MOST_ENTRIES:
                break
            count = min(2 * count, 4 * READ_BATCH)
        return InstancePage(
            instances=tuple(found.states),
            next_token=None if before is None else make_token(before, purpose),
        )

    def _source(self, query: InstanceQuery) -> _Source:
        """The entries of the most selective condition that has any."""
        shards, keys = self._namespace.shards, self._keys
        if query.parent is not None and shards.has_links:
            return _Source([keys.partition(query.parent)], index=False, prefix=child_key(""))
        if query.labels:
            key, value = min(query.labels.items())
            return _Source([keys.labelled(key, value, shard) for shard in shards.all])
        statuses = query.statuses or set(_STATUSES)
        if query.parked or query.parked_reasons:
            # Only what runs is parked.
            statuses = statuses & {InstanceStatus.RUNNING}
            if statuses and shards.has_links:
                return _Source([keys.parked(shard) for shard in shards.all])
        running = statuses & {InstanceStatus.RUNNING}
        ended = [status for status in _STATUSES if status in statuses - running]
        entries = {
            status: [keys.listing(status.value, shard) for shard in shards.all]
            for status in statuses
        }
        later = [entry for status in ended for entry in entries[status]]
        if not running:
            return _Source(later)
        return _Source(entries[InstanceStatus.RUNNING], later)

    def _may_be_wanted(self, row: Row, source: _Source, query: InstanceQuery) -> bool:
        """Whether an instance may meet the query, as far as its entry tells."""
        name = row.text_or_none("nam")
        return (
            self._instance_of(row, source).startswith(query.id_prefix)
            and (not query.orchestrations or name is None or name in query.orchestrations)
            and not (query.roots_only and "tag" in row)
        )

    async def _take_from(self, rows: Sequence[Row], source: _Source, found: _Found) -> str | None:
        """Take what meets the query; returns the place at which the page ends, if it does."""
        reached: str | None = None
        left, size = list(rows), found.limit - len(found.states)
        while left:
            # Few of those that are looked at may meet the query.
            size = min(size, READ_BATCH, found.room)
            if not size:
                return reached or self._place_ahead(left[0], source)
            some, left, size = left[:size], left[size:], 2 * size
            found.locks_read += len(some)
            locks = await self._changes.read_sound_locks(
                [self._instance_of(row, source) for row in some]
            )
            for row in some:
                lock, place = locks.get(self._instance_of(row, source)), source.place_of(row)
                if (
                    lock is not None
                    and _is_at(place, lock)
                    and found.query.accepts(lock.state(None))
                ):
                    if not found.has_room_for(lock):
                        return reached or self._place_ahead(row, source)
                    await self._take(lock, found)
                elif lock is not None and row.text("sk") == PARKED and not lock.is_parked:
                    self._namespace.purge.start(self._forget_parking(lock))
                reached = place
                if len(found.states) == found.limit:
                    return reached
        return None

    async def _take(self, lock: Lock, found: _Found) -> None:
        async def find() -> Lock | None:
            row = await self._table.get(*self._namespace.lock_key(lock.instance))
            return None if row is None else Lock(lock.instance, row)

        async def read(latest: Lock | None) -> InstanceState | None:
            wanted = latest is not None and latest.incarnation == lock.incarnation
            if latest is None or not wanted or not found.query.accepts(latest.state(None)):
                return None
            return await read_state(self._table, latest)

        try:
            try:
                state = await read_state(self._table, lock)
            except StorageCorrupt:
                # It has changed since, unless it is damaged.
                state = await read_stably(find, read, again=where_incomplete)
        except StorageCorrupt as error:
            _LOGGER.error("instance %r is left out of a listing: %s", lock.instance, error)
            return
        if state is not None:
            found.add(state, lock)

    async def _forget_parking(self, lock: Lock) -> None:
        """Remove an entry that a commit has left which did not know of the mark."""
        is_not_parked = Check(
            key=self._namespace.lock_key(lock.instance),
            condition="inc = :inc AND attribute_not_exists(pks)",
            values={":inc": lock.incarnation},
        )
        entry = Delete(key=(lock.row.text("pk"), PARKED))
        try:
            await self._table.transact([is_not_parked, entry])
        except TransactionCancelled:
            return

    def _instance_of(self, row: Row, source: _Source) -> str:
        return source.place_of(row).partition("#")[2]

    def _place_ahead(self, row: Row, source: _Source) -> str:
        """A place just ahead of an entry, in the order of listings."""
        return source.place_of(row) + "\x00"


class _Found:
    """What a page has so far."""

    def __init__(self, limit: int, query: InstanceQuery) -> None:
        self.limit = limit
        self.query = query
        self.states: list[InstanceState] = []
        self.locks_read = 0
        self._size = 0

    @property
    def room(self) -> int:
        """How many lock items may be read yet."""
        return max(0, max(self.limit, MOST_LOCKS) - self.locks_read)

    def has_room_for(self, lock: Lock) -> bool:
        """Whether what may be large in a state fits into the page."""
        return not self.states or self._size + _size_of(lock) <= MAX_BYTES_PER_DELIVERY

    def add(self, state: InstanceState, lock: Lock) -> None:
        """Add a state to the page."""
        self.states.append(state)
        self._size += _size_of(lock)


def _size_of(lock: Lock) -> int:
    return size_of(lock.row, "oup") + size_of(lock.row, "cst")


def _is_at(place: str, lock: Lock) -> bool:
    """Whether it is the instance of the entry, and no later one of the same id."""
    return place.startswith(f"{time_text(lock.created)}#")
