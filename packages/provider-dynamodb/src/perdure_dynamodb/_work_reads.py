"""Reading what is queued for an instance: its mailbox, and its activities."""

from __future__ import annotations

from perdure.contract import InstanceWork, MessageKind, QueuedActivity, QueuedMessage, is_in_force

from perdure_dynamodb._activity_items import id_of
from perdure_dynamodb._keys import ACTIVITIES
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._messages import read_mailbox
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import read_payload, size_of
from perdure_dynamodb._stable_reads import always, read_stably
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import Select
from perdure_dynamodb._values import Row

MOST = 1000
"""So many of each kind are returned."""


class WorkReads:
    """Reads the work of instances of one namespace."""

    def __init__(self, namespace: Namespace, staged_commits: StagedCommits) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._staged = staged_commits

    async def read(self, instance: str) -> InstanceWork | None:
        """What is queued, without what is void; None if the instance does not exist."""

        async def find() -> Lock | None:
            row = await self._table.get(*self._namespace.lock_key(instance))
            return None if row is None else await self._staged.finish(Lock(instance, row))

        async def read(lock: Lock | None) -> InstanceWork | None:
            return None if lock is None else await self._work_of(lock)

        return await read_stably(find, read, again=always, identity=_at_which_turn)

    async def _work_of(self, lock: Lock) -> InstanceWork:
        now, partition = self._namespace.now, lock.row.text("pk")
        hidden = lock.row.number_or_none("hid")
        mailbox: list[Row] = []
        activities: list[Row] = []
        if lock.running:
            mailbox = await read_mailbox(self._table, partition)
            select = Select(partition=partition, first=ACTIVITIES[0], last=ACTIVITIES[1])
            activities = [row async for row in self._table.query_all(select)]
        messages = sorted(
            (row for row in mailbox if not lock.validity.voids(row)),
            key=lambda row: row.text("ord"),
        )
        queued = sorted(
            (row for row in activities if not lock.validity.voids(row)),
            key=lambda row: (row.number("ado"), id_of(row)),
        )
        return InstanceWork(
            attempt=lock.attempt,
            leased_until=None if lock.token is None else lock.until,
            delayed_until=hidden if is_in_force(hidden, now) else None,
            activities=tuple([await self._activity(row) for row in queued[:MOST]]),
            messages=tuple(map(_message, messages[:MOST])),
            more=len(messages) > MOST or len(queued) > MOST,
        )

    async def _activity(self, row: Row) -> QueuedActivity:
        hidden = row.number_or_none("hid")
        is_hidden = is_in_force(hidden, self._namespace.now)
        return QueuedActivity(
            id=id_of(row),
            name=row.text("nam"),
            tag=row.text_or_none("tag"),
            data=await read_payload(self._table, row) or b"",
            added_at=row.number("ado"),
            delivery=row.number("dlv"),
            visible_at=hidden if is_hidden else row.number_or_none("due"),
            leased_until=None if "tok" not in row else row.number("unt"),
        )


def _message(row: Row) -> QueuedMessage:
    return QueuedMessage(
        id=row.text("sk")[2:],
        kind=MessageKind(row.text("kin")),
        size=size_of(row),
        visible_at=row.number_or_none("due"),
    )


def _at_which_turn(lock: Lock) -> object:
    """What changes when work is consumed or leased."""
    return lock.incarnation, lock.turn
