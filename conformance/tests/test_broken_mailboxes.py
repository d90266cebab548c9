"""Providers that lose, double, misplace or mistime messages."""

import asyncio
from dataclasses import replace

from perdure.contract import InstanceStatus, MessageKind
from perdure.errors import StorageFailed
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store


@breaks("MAIL-1", "MAIL-12")
class OrdersById(Store):
    def order(self, entry):
        first, *rest = super().order(entry)
        return (first, entry.message.id, *rest)


@breaks("MAIL-2", "COMMIT-14", "MODEL-1")
class DeliversTheFuture(Store):
    def is_visible(self, entry):
        return True


@breaks("MAIL-2")
class IsLateByAnInstant(Store):
    def is_visible(self, entry):
        visible_at = entry.message.visible_at
        return visible_at is None or visible_at < self.now


@breaks("MAIL-2")
class RoundsToMilliseconds(Store):
    def is_visible(self, entry):
        visible_at = entry.message.visible_at
        return visible_at is None or visible_at // 1000 <= self.now // 1000 + 1


@breaks("MAIL-3")
class OrdersByArrivalAlone(Store):
    def order(self, entry):
        key = super().order(entry)
        return (2, entry.arrival) if key[0] == 2 else key


@breaks("MAIL-3", "CREATE-5")
class PutsTheStartLast(Store):
    def order(self, entry):
        if entry.message.kind is MessageKind.START:
            return (2, entry.due, entry.arrival)
        return super().order(entry)


@breaks("MAIL-3", "MAIL-1")
class LosesTheOrderAtEqualTimes(Store):
    def order(self, entry):
        key = super().order(entry)
        return (2, entry.due, -entry.arrival) if key[0] == 2 else key


@breaks("MAIL-4")
class ComparesStampsWithTheClock(Store):
    def is_visible(self, entry):
        return entry.due <= self.now


@breaks("MAIL-4")
class StampsGoBack(Store):
    def due_time(self, message):
        return self.now if message.visible_at is None else message.visible_at


@breaks("MAIL-5")
class ReplacesHeldMessages(Store):
    def put(self, message):
        self.remove_messages(message.instance, [message.id])
        super().put(message)


@breaks("MAIL-5", "COMMIT-14")
class NeverTakesAnIdAgain(Store):
    def put(self, message):
        seen = self.__dict__.setdefault("seen", set())
        if (message.instance, message.id) not in seen:
            seen.add((message.instance, message.id))
            super().put(message)


@breaks("MAIL-5")
class KeepsDuplicates(Store):
    def put(self, message):
        box = self.tables.mailboxes.get(message.instance, {})
        if message.id in box:
            first = box.pop(message.id)
            super().put(message)
            box[f"{message.id} again"] = box[message.id]
            box[message.id] = first
        else:
            super().put(message)

    def remove_messages(self, instance, ids):
        super().remove_messages(instance, [*ids, *(f"{each} again" for each in ids)])


@breaks("MAIL-6", "CREATE-5")
class DropsEventsForAbsentIds(Store):
    def is_void(self, message):
        return message.instance not in self.tables.instances or super().is_void(message)


@breaks("MAIL-6")
class IsBlockedByWaitingEvents(Store):
    def lease_turns(self, request):
        waiting = sum(
            len(box)
            for name, box in self.tables.mailboxes.items()
            if name not in self.tables.instances
        )
        return () if waiting >= request.limit else super().lease_turns(request)


@breaks("MAIL-6")
class ForgetsEventsAfterAWeek(Store):
    def add_instance(self, new):
        box = self.tables.mailboxes.get(new.instance, {})
        old = [each for each, entry in box.items() if entry.due < self.now - 7 * 86_400_000_000]
        self.remove_messages(new.instance, old)
        super().add_instance(new)


@breaks("MAIL-7", "COMMIT-14")
class KeepsEverythingForAbsentIds(Store):
    def is_void(self, message):
        return message.instance in self.tables.instances and super().is_void(message)


@breaks("MAIL-8", "COMMIT-14")
class ForgetsTheIncarnation(Store):
    def is_void(self, message):
        return super().is_void(replace(message, incarnation=None))


@breaks("MAIL-9", "COMMIT-19")
class ForgetsTheExecution(Store):
    def is_void(self, message):
        return super().is_void(replace(message, execution=None))


@breaks("MAIL-9")
class VoidsOnArrivalOnly(Store):
    def drop_void(self, instance):
        pass


@breaks("MAIL-10", "COMMIT-18")
class RunsEndedInstances(Store):
    def is_void(self, message):
        row = self.tables.instances.get(message.instance)
        return (row is None or row.state.status is InstanceStatus.RUNNING) and super().is_void(
            message
        )

    def is_ready(self, row):
        return super().is_ready(
            type(row)(**{**fields(row), "state": replace(row.state, status=InstanceStatus.RUNNING)})
        )


def fields(row):
    return {name: getattr(row, name) for name in row.__slots__}


@breaks("MAIL-11", "MAIL-6")
class HasOneMailboxOfIds(Store):
    def put(self, message):
        if (
            not any(message.id in box for box in self.tables.mailboxes.values())
            or message.kind is MessageKind.START
        ):
            super().put(message)


@breaks("MAIL-11", "MAIL-6")
class SendsToTheFirstInstanceOnly(ModelProvider):
    async def send(self, messages):
        await super().send([m for m in messages if m.instance == messages[0].instance])


@breaks("MAIL-11")
class RemovesFromEveryMailbox(Store):
    def remove_messages(self, instance, ids):
        for other in list(self.tables.mailboxes):
            super().remove_messages(other, ids)


class Delivers(Store):
    def delivery(self, instance, held=()):
        waiting = [
            entry.message for entry in self.visible(instance) if entry.message.id not in held
        ]
        return self.cut(waiting)


@breaks("MAIL-12", "MAIL-13", "COMMIT-22")
class DeliversEverything(Delivers):
    def cut(self, waiting):
        return tuple(waiting), False


@breaks("MAIL-12")
class HandsOutTheFirstThousandWithoutTheStart(Store):
    def visible(self, instance):
        first = sorted(self.unsorted_visible(instance), key=lambda entry: entry.arrival)[:1001]
        return sorted(first, key=self.order)


@breaks("MAIL-12", "MAIL-14")
class NeverSaysMore(Store):
    def delivery(self, instance, held=()):
        return super().delivery(instance, held)[0], False


@breaks("MAIL-13")
class DeliversNothingWhereOneIsTooLarge(Delivers):
    def cut(self, waiting):
        taken, size = [], 0
        for message in waiting:
            size += len(message.data)
            if size > 4 * 1024 * 1024:
                break
            taken.append(message)
        return tuple(taken), len(taken) < len(waiting)


@breaks("MAIL-16")
class LeavesACancellationInItsPlace(Store):
    def cancellations(self, behind):
        return []


@breaks("MAIL-16")
class DeliversAHeldCancellationAgain(Store):
    def delivery(self, instance, held=()):
        return super().delivery(instance, frozenset(held) - {"cancel"})


@breaks("MAIL-14")
class HoldsFiveThousand(Store):
    def put(self, message):
        if len(self.tables.mailboxes.get(message.instance, {})) < 5000:
            super().put(message)


@breaks("MAIL-14")
class RefusesMoreThanAHundredAtOnce(ModelProvider):
    async def send(self, messages):
        if len(messages) > 100:
            raise StorageFailed("the batch is too large", operation="send")
        await super().send(messages)


@breaks("MAIL-15", "RACE-1")
class LosesMessagesUnderARace(ModelProvider):
    async def send(self, messages):
        boxes = {name: dict(box) for name, box in self._store.tables.mailboxes.items()}
        await asyncio.sleep(0)
        self._store.tables.mailboxes = boxes
        await super().send(messages)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
