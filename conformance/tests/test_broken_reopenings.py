"""Providers that keep most of what they stored over a close, and forget or double the rest."""

import copy
from contextlib import asynccontextmanager
from dataclasses import replace

from perdure.contract import (
    DELETION,
    LISTING,
    MANAGEMENT,
    PERSISTENT,
    RECOVERY,
    VALUES,
)
from perdure_conformance.broken_providers import StoreBackend, breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model.tables import Lease

ALL = frozenset({MANAGEMENT, PERSISTENT, RECOVERY, DELETION, VALUES, LISTING})


class Reopens(StoreBackend):
    """Changes something whenever the storage is opened again."""

    def __init__(self):
        super().__init__(capabilities=ALL)

    @asynccontextmanager
    async def open(self, *, clock, namespace):
        before = self._stores.get(namespace)
        if before is not None:
            self._stores[namespace] = copy.deepcopy(before)
            self._stores[namespace].now = clock.now()
            self.lose(self._stores[namespace].tables, self._stores[namespace])
        async with super().open(clock=clock, namespace=namespace) as provider:
            yield provider

    def lose(self, tables, store):
        pass


class LosesOfInstances(Reopens):
    def lose(self, tables, store):
        for row in tables.instances.values():
            self.spoil(row, store)

    def spoil(self, row, store):
        raise NotImplementedError


class LosesOfActivities(Reopens):
    def lose(self, tables, store):
        for row in tables.activities.values():
            self.spoil(row, store)

    def spoil(self, row, store):
        raise NotImplementedError


class LosesOfMessages(Reopens):
    def lose(self, tables, store):
        for box in tables.mailboxes.values():
            for entry in box.values():
                self.spoil(entry, store)

    def spoil(self, entry, store):
        raise NotImplementedError


@breaks("DURABLE-1")
class ForgetsActivityLeases(LosesOfActivities):
    def spoil(self, row, store):
        row.lease = None


@breaks("DURABLE-1")
class ForgetsDeliveries(LosesOfActivities):
    def spoil(self, row, store):
        row.delivery = 0


@breaks("DURABLE-1")
class ForgetsActivityDelays(LosesOfActivities):
    def spoil(self, row, store):
        row.hidden_until = None


@breaks("DURABLE-1")
class ForgetsWhenActivitiesAreDue(LosesOfActivities):
    def spoil(self, row, store):
        row.visible_at = None


@breaks("DURABLE-1")
class ForgetsTagsAtAClose(LosesOfActivities):
    def spoil(self, row, store):
        row.new = replace(row.new, tag=None)


@breaks("DURABLE-1")
class ForgetsInputsAtAClose(LosesOfActivities):
    def spoil(self, row, store):
        row.new = replace(row.new, data=b"")


@breaks("DURABLE-1")
class ForgetsWhenActivitiesWereAdded(LosesOfActivities):
    def spoil(self, row, store):
        row.added_at = store.now


@breaks("DURABLE-1")
class ForgetsWhichActivityLeaseWasTakenOver(LosesOfActivities):
    def spoil(self, row, store):
        row.taken_from = None


@breaks("DURABLE-1")
class BeginsActivityLeasesAgain(LosesOfActivities):
    def spoil(self, row, store):
        if row.lease is not None:
            row.lease = Lease(row.lease.token, max(row.lease.until, store.now + 30_000_000))


@breaks("DURABLE-1")
class ForgetsWhichTurnLeaseWasTakenOver(LosesOfInstances):
    def spoil(self, row, store):
        row.taken_from = None


@breaks("DURABLE-1")
class BeginsTurnLeasesAgain(LosesOfInstances):
    def spoil(self, row, store):
        if row.lease is not None:
            row.lease = Lease(row.lease.token, max(row.lease.until, store.now + 30_000_000))


@breaks("DURABLE-1")
class ForgetsMarks(LosesOfInstances):
    def spoil(self, row, store):
        row.state = replace(row.state, parked=None)


@breaks("DURABLE-1")
class ForgetsThePin(LosesOfInstances):
    def spoil(self, row, store):
        row.state = replace(row.state, version=None)


@breaks("DURABLE-1")
class ForgetsTheEngineAtAClose(LosesOfInstances):
    def spoil(self, row, store):
        row.state = replace(row.state, engine=1)


@breaks("DURABLE-1")
class ForgetsTheParentAtAClose(LosesOfInstances):
    def spoil(self, row, store):
        row.state = replace(row.state, parent=None)


@breaks("DURABLE-1")
class ForgetsLabelsAtAClose(LosesOfInstances):
    def spoil(self, row, store):
        row.state = replace(row.state, labels={})


@breaks("DURABLE-1")
class ForgetsTheCustomStatus(LosesOfInstances):
    def spoil(self, row, store):
        row.state = replace(row.state, custom_status=None)


@breaks("DURABLE-1")
class ForgetsOutputsAtAClose(LosesOfInstances):
    def spoil(self, row, store):
        row.state = replace(row.state, output=None)


@breaks("DURABLE-1")
class ForgetsWhichIdsWereInUse(LosesOfInstances):
    def spoil(self, row, store):
        row.answer = row.answer and replace(row.answer, in_use=frozenset())


@breaks("DURABLE-1")
class ForgetsUntilWhenActivitiesWereLeased(LosesOfInstances):
    def spoil(self, row, store):
        row.answer = row.answer and replace(row.answer, activities_until=None)


@breaks("DURABLE-1")
class ForgetsValues(Reopens):
    def lose(self, tables, store):
        tables.values.clear()


@breaks("DURABLE-1")
class ForgetsFronts(LosesOfMessages):
    def spoil(self, entry, store):
        entry.front = None


@breaks("DURABLE-1")
class CountsFrontsFromOneAgain(Reopens):
    """Numbers the fronts of commits from 1 again, so that later ones come behind earlier ones."""

    def lose(self, tables, store):
        for box in tables.mailboxes.values():
            for entry in box.values():
                if entry.front is not None:
                    entry.front = (entry.front[0] - 1_000_000, entry.front[1])


@breaks("DURABLE-1")
class CountsArrivalsFromOneAgain(Reopens):
    def lose(self, tables, store):
        tables.happenings = 0


@breaks("DURABLE-1")
class ForgetsTheNewestStamp(Reopens):
    """A clock that stepped back lets messages after the opening pass those before it."""

    def lose(self, tables, store):
        tables.stamp = 0


@breaks("DURABLE-1")
class ForgetsTimers(Reopens):
    def lose(self, tables, store):
        for box in tables.mailboxes.values():
            for key in [k for k, e in box.items() if (e.message.visible_at or 0) > store.now]:
                del box[key]


@breaks("DURABLE-1")
class ForgetsWhenMessagesAreDue(LosesOfMessages):
    def spoil(self, entry, store):
        entry.message = replace(entry.message, visible_at=None)


@breaks("DURABLE-1")
class DoublesEarlyEvents(Reopens):
    """Knows the ids of early events only as long as it is open."""

    def lose(self, tables, store):
        for name in set(tables.mailboxes) - set(tables.instances):
            box = tables.mailboxes[name]
            tables.mailboxes[name] = {f"stored {key}": entry for key, entry in box.items()}


@breaks("DURABLE-1")
class DoublesMessages(Reopens):
    def lose(self, tables, store):
        for name in tables.instances:
            box = tables.mailboxes.get(name, {})
            tables.mailboxes[name] = {f"stored {key}": entry for key, entry in box.items()}

    @asynccontextmanager
    async def open(self, *, clock, namespace):
        async with super().open(clock=clock, namespace=namespace) as provider:
            store = self._stores[namespace]
            remove = store.remove_messages

            def remove_both(instance, ids):
                remove(instance, [*ids, *(f"stored {each}" for each in ids)])

            store.remove_messages = remove_both
            yield provider


@breaks("DURABLE-1")
class ForgetsTheOrderOfEarlyEvents(Reopens):
    def lose(self, tables, store):
        for name in set(tables.mailboxes) - set(tables.instances):
            for place, (_, entry) in enumerate(sorted(tables.mailboxes[name].items())):
                entry.arrival, entry.due = place, 0


@breaks("DURABLE-1")
class ForgetsHistoriesOfOldExecutions(Reopens):
    def lose(self, tables, store):
        for rows in tables.executions.values():
            for row in rows[:-1]:
                row.events.clear()


@breaks("DURABLE-1")
class ForgetsOutputsOfOldExecutions(Reopens):
    def lose(self, tables, store):
        for rows in tables.executions.values():
            for row in rows[:-1]:
                row.state = replace(row.state, output=None)


@breaks("DURABLE-1")
class ForgetsWhatHasEnded(Reopens):
    def lose(self, tables, store):
        for name in [n for n, row in tables.instances.items() if row.state.output == b"done"]:
            del tables.instances[name]


def test_a_provider_that_keeps_everything_passes():
    (check,) = (check for check in CLAUSES if check.id == "DURABLE-1")

    assert what_catches(breaks("DURABLE-1")(Reopens), check) is None


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
