"""Providers that are wrong at the limits of a delivery, by other clocks, or before an instance begins."""

import asyncio
from dataclasses import replace

import pytest
from perdure.contract import MessageKind
from perdure.errors import InstanceAlreadyExists, StorageFailed
from perdure_conformance.broken_providers import Broken, StoreBackend, breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model.turns import HistoryPage

MEGABYTE = 1024 * 1024
DAY = 86_400_000_000


class Delivers(Store):
    """Delivers otherwise."""

    most, size, is_full = 1000, 4 * MEGABYTE, staticmethod(lambda size, limit: size > limit)

    def delivery(self, instance, held=()):
        waiting = [e.message for e in self.visible(instance) if e.message.id not in held]
        taken, size = [], 0
        for message in waiting[: self.most]:
            size += self.size_of(message)
            if taken and self.is_full(size, self.size):
                break
            taken.append(message)
        rest = self.cancellations(waiting[len(taken) :])
        return (*taken, *rest), self.says_more(len(taken), len(waiting))

    def size_of(self, message):
        return len(message.data)

    def says_more(self, taken, waiting):
        return taken < waiting


@breaks("MAIL-12")
class DeliversAHundred(Delivers):
    most = 100


@breaks("MAIL-12")
class DeliversOneMore(Delivers):
    most = 1001


@breaks("MAIL-12")
class DeliversOneLess(Delivers):
    most = 999


@breaks("MAIL-12", "COMMIT-22")
class SaysMoreWhereItIsJustFull(Delivers):
    def says_more(self, taken, waiting):
        return taken == 1000 or taken < waiting


@breaks("MAIL-12", "COMMIT-22")
class LosesTheMessageBehindTheLimit(Delivers):
    def says_more(self, taken, waiting):
        return taken + 1 < waiting


@breaks("MAIL-13")
class StopsBelowFourMegabytes(Delivers):
    is_full = staticmethod(lambda size, limit: size >= limit)


@breaks("MAIL-13")
class StopsAtOneMegabyte(Delivers):
    size = MEGABYTE


@breaks("MAIL-13")
class CountsEnvelopes(Delivers):
    def size_of(self, message):
        return len(message.data) + len(message.id)


@breaks("MAIL-13")
class GoesBeyondByOneMessage(Delivers):
    is_full = staticmethod(lambda size, limit: size > limit + MEGABYTE)


@breaks("MAIL-13")
class PassesOverWhatDoesNotFit(Store):
    def delivery(self, instance, held=()):
        messages, more = super().delivery(instance, held)
        waiting = [e.message for e in self.visible(instance) if e.message.id not in held]
        size = sum(len(each.data) for each in messages)
        small = [m for m in waiting[len(messages) :] if len(m.data) + size <= 4 * MEGABYTE]
        return (*messages, *small[:1]), more


# The time of messages


class SeesDues(Store):
    def seen(self, visible_at):
        return visible_at

    def is_visible(self, entry):
        visible_at = entry.message.visible_at
        return visible_at is None or self.seen(visible_at) <= self.now


@breaks("MAIL-2")
class KeepsTimersAMonthAtMost(Store):
    def put(self, message):
        if message.visible_at is not None:
            message = replace(message, visible_at=min(message.visible_at, self.now + 30 * DAY))
        super().put(message)


@breaks("MAIL-2")
class DropsTimersBeyondAYear(Store):
    def put(self, message):
        if message.visible_at is None or message.visible_at < self.now + 366 * DAY:
            super().put(message)


class Wraps(SeesDues):
    bits = 31

    def seen(self, visible_at):
        seconds = visible_at // 1_000_000 % (1 << self.bits)
        return seconds * 1_000_000 + visible_at % 1_000_000


@breaks("MAIL-2")
class CountsSecondsIn31Bits(Wraps):
    pass


@breaks("MAIL-2")
class CountsSecondsIn32Bits(Wraps):
    bits = 32


@breaks("MAIL-2")
class ForgetsWhenEarlyEventsAreDue(Store):
    def put(self, message):
        if message.instance not in self.tables.instances:
            message = replace(message, visible_at=None)
        super().put(message)


# The order of messages


@breaks("MAIL-4")
class OrdersByTheClockOfTheSender(ModelProvider):
    async def send(self, messages):
        store, now = self.at_present(), self.clock.now()
        store.stamp = lambda: now
        try:
            await super().send(messages)
        finally:
            del store.stamp


@breaks("MAIL-4")
class HidesWhatOthersStampAhead(Store):
    def is_visible(self, entry):
        return super().is_visible(entry) and entry.arrived_at <= self.now


@breaks("MAIL-1")
class PutsResultsFirst(Store):
    def order(self, entry):
        first, *rest = super().order(entry)
        return (first, entry.message.kind is not MessageKind.ACTIVITY, *rest)


@breaks("MAIL-1")
class PutsResultsWhereTheActivityWasAdded(Store):
    def complete_activity(self, completion):
        row = self.leased_row(completion.lease)
        super().complete_activity(completion)
        entry = self.tables.mailboxes[completion.message.instance][completion.message.id]
        entry.arrival = row.place


@breaks("MAIL-1")
class PutsWhatCommitsSendBehindEverything(Store):
    def carry_out(self, row, commit):
        answer = super().carry_out(row, commit)
        for message in commit.send:
            entry = self.tables.mailboxes.get(message.instance, {}).get(message.id)
            if entry is not None:
                entry.arrival += 1_000_000
        return answer


# Ids that are held, or free


@breaks("MAIL-5")
class ReplacesWhatIsNotVisibleYet(Store):
    def put(self, message):
        held = self.tables.mailboxes.get(message.instance, {}).get(message.id)
        if held is not None and not self.is_visible(held):
            self.remove_messages(message.instance, [message.id])
        super().put(message)


@breaks("MAIL-5")
class LetsVoidMessagesHoldTheirIds(Store):
    def put(self, message):
        void = self.__dict__.setdefault("void", set())
        if self.is_void(message):
            void.add((message.instance, message.id))
        if (message.instance, message.id) not in void:
            super().put(message)


@breaks("MAIL-5")
class LetsEndedExecutionsHoldTheirIds(Store):
    def drop_void(self, instance):
        before = set(self.tables.mailboxes.get(instance, ()))
        super().drop_void(instance)
        gone = before - set(self.tables.mailboxes.get(instance, ()))
        self.__dict__.setdefault("gone", set()).update((instance, each) for each in gone)

    def put(self, message):
        if (message.instance, message.id) not in self.__dict__.get("gone", ()):
            super().put(message)


@breaks("MAIL-5")
class CannotSendNothing(ModelProvider):
    async def send(self, messages):
        if not messages:
            raise StorageFailed("the statement has no rows", operation="send")
        await super().send(messages)


# Before an instance begins


class EarlyEvents(Store):
    """Keeps events for absent ids apart, or not."""

    def is_early(self, message):
        return message.instance not in self.tables.instances


@breaks("MAIL-5")
class ReplacesEarlyEvents(EarlyEvents):
    def put(self, message):
        if self.is_early(message):
            self.remove_messages(message.instance, [message.id])
        super().put(message)


@breaks("MAIL-5")
class ForgetsTheIdsOfEarlyEvents(EarlyEvents):
    def put(self, message):
        box = self.tables.mailboxes.get(message.instance, {})
        if message.kind is MessageKind.EVENT and not self.is_early(message) and message.id in box:
            message = replace(message, id=f"{message.id} again")
        super().put(message)


@breaks("MAIL-5")
class DropsAStartWhoseIdIsHeld(Store):
    def add_instance(self, new):
        held = self.tables.mailboxes.get(new.instance, {}).get(new.start.id)
        super().add_instance(new)
        if held is not None:
            self.tables.mailboxes[new.instance][new.start.id] = held


class RacesWithCreations(ModelProvider):
    """Looks whether the instance exists, and writes what that asks for in a second step."""

    async def send(self, messages):
        store = self.at_present()
        early = [each for each in messages if each.instance not in store.tables.instances]
        await asyncio.sleep(0)
        for message in messages:
            if message not in early or message.instance not in store.tables.instances:
                store.put(message)
            else:
                self.too_late(store, message)

    def too_late(self, store, message):
        raise NotImplementedError


@breaks("MAIL-15")
class LosesEventsToCreations(RacesWithCreations):
    def too_late(self, store, message):
        pass


@breaks("MAIL-15")
class DoublesEventsAtCreations(RacesWithCreations):
    def too_late(self, store, message):
        store.put(message)
        store.put(replace(message, id=f"{message.id} again"))


@breaks("MAIL-15")
class CreatesWithoutLateEvents(ModelProvider):
    async def create_instance(self, new):
        store = self.at_present()
        if new.instance in store.tables.instances:
            await super().create_instance(new)
            return
        early = dict(store.tables.mailboxes.get(new.instance, {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if new.instance in store.tables.instances:
            raise InstanceAlreadyExists(new.instance)
        store.tables.mailboxes[new.instance] = early
        await super().create_instance(new)


# Other executions


class KeepsForLater(Store):
    """Keeps messages that name a later execution."""

    def is_void(self, message):
        row = self.tables.instances.get(message.instance)
        ahead = row is not None and (message.execution or 0) > row.state.execution
        return super().is_void(replace(message, execution=None) if ahead else message)


@breaks("MAIL-9")
class DeliversLaterExecutionsAtOnce(KeepsForLater):
    pass


@breaks("MAIL-9")
class DeliversLaterExecutionsWhenTheyBegin(KeepsForLater):
    def unsorted_visible(self, instance):
        found = super().unsorted_visible(instance)
        return [entry for entry in found if not Store.is_void(self, entry.message)]

    def has_visible(self, instance):
        return bool(self.unsorted_visible(instance))


# Histories and plain fields


class Pages(Store):
    def page(self, row, after):
        most = 1000
        events = row.events[after : after + most]
        return HistoryPage(events=tuple(events), more=self.more(after, len(events), row.events))


@breaks("HIST-1")
class SaysMoreAfterAFullPage(Pages):
    def more(self, after, count, events):
        return count == 1000


@breaks("HIST-1")
class LosesTheEventBehindAPage(Pages):
    def more(self, after, count, events):
        return after + count + 1 < len(events)


class Updates(ModelProvider):
    """Counts other calls than commits as updates."""

    touched = ""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name != type(self).touched:
            return found

        async def called(*arguments, **named):
            answer = await found(*arguments, **named)
            row = self._store.tables.instances.get("still")
            if row is not None:
                row.state = replace(row.state, updated_at=self.clock.now())
            return answer

        return called


@pytest.mark.parametrize(
    "method",
    [
        "send",
        "lease_turns",
        "renew_turns",
        "release_turn",
        "lease_activities",
        "renew_activities",
        "complete_activity",
    ],
)
def test_an_update_by_another_call_is_caught(method):
    (check,) = (check for check in CLAUSES if check.id == "READ-1")
    provider = type("Updates", (Updates,), {"touched": method})
    broken = Broken(name="updates", clauses=(), make=lambda: StoreBackend(provider=provider))

    assert what_catches(broken, check) is not None


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
