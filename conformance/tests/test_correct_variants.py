"""Providers that do it another way, and keep the contract: the suite must be content with them."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.clock import to_microseconds
from perdure_conformance.broken_providers import StoreBackend
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.comparison.state_machine import compare_with_model
from perdure_conformance.locking_store import LockingStore, SkipsWhatIsLocked
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model import turns as turns_module
from perdure_conformance.model.listing import ModelAdmin
from perdure_conformance.runner import Outcome, judge


class TakesItsTime(ModelProvider):
    """Goes around the event loop before each call."""


def _later(method):
    async def called(self, *arguments, **named):
        for _ in range(3):
            await asyncio.sleep(0)
        return await method(self, *arguments, **named)

    return called


for _name in (
    "create_instance",
    "send",
    "commit_turn",
    "read_history",
    "read_instance",
    "lease_turns",
    "lease_activities",
    "complete_activity",
    "renew_turns",
    "reopen_instance",
    "terminate_instance",
):
    setattr(TakesItsTime, _name, _later(getattr(ModelProvider, _name)))


class VoidsLater(Store):
    """Leaves void messages where they are, and passes over them at each delivery."""

    def drop_void(self, instance):
        pass

    def put(self, message):
        row = self.tables.instances.get(message.instance)
        if row is not None and (message.execution or 0) > row.state.execution:
            return  # it is void, and would not be when that execution begins
        mailbox = self.tables.mailboxes.get(message.instance, {})
        held = mailbox.get(message.id)
        if held is not None and self.is_void(held.message):
            del mailbox[message.id]
        super().put(message)

    def unsorted_visible(self, instance):
        found = super().unsorted_visible(instance)
        return [entry for entry in found if not self.is_void(entry.message)]

    def has_visible(self, instance):
        return bool(self.unsorted_visible(instance))


class VoidsActivitiesLater(Store):
    """Leaves void activities where they are."""

    def drop_void_activities(self, instance):
        pass


class IsRoughlyFair(Store):
    """Gives turns in another order among those that became ready in the same second."""

    def waiting_since(self, row):
        since, place = super().waiting_since(row)
        return (since, place ^ 7)

    def place_in_queue(self, row):
        due, place = super().place_in_queue(row)
        return (due, place ^ 3)


class FinishesTwenty(ModelProvider):
    finish_limit = 20


class WakesForNothing(ModelProvider):
    """Returns from every other wait for work at once, and from those for changes when it likes."""

    tells_of_work = True
    tells_of_changes = True
    waits = 0

    def has_work(self, wait):
        store = self.at_present()
        turns = wait.serves is not None and any(
            store.is_ready(row)
            and wait.serves.accepts(row.state.name, row.state.version)
            and row.state.engine <= wait.serves.engine
            for row in store.tables.instances.values()
        )
        return turns or any(
            store.is_available(row)
            and row.new.name in wait.activity_names
            and row.new.tag in wait.activity_tags
            for row in store.tables.activities.values()
        )

    async def wait_for_work(self, wait):
        self.waits += 1
        if self.waits % 2:
            await asyncio.sleep(0)
            return
        end = self.clock.now() + to_microseconds(wait.timeout)
        while not self.has_work(wait) and (left := end - self.clock.now()) > 0:
            await self.clock.sleep(timedelta(microseconds=min(left, 100_000)))

    async def wait_for_change(self, wait):
        await self.clock.sleep(min(wait.timeout, timedelta(milliseconds=200)))


class LooksForCancellationsInTheEnd(ModelProvider):
    """Tells of cancellations, as a storage that cannot notify does: it looks once."""

    tells_of_cancellations = True

    async def wait_for_cancellation(self, wait):
        await self.clock.sleep(wait.timeout)
        store = self.at_present()
        return frozenset(each for each in wait.leases if store.leased_row(each) is None)


class AnswersWithLists(ModelProvider):
    """Gives lists where the contract says a sequence."""

    async def lease_turns(self, request):
        return list(await super().lease_turns(request))

    async def lease_activities(self, request):
        return [replace(each) for each in await super().lease_activities(request)]


class EndsWithAnEmptyPage(ModelProvider):
    """Says that others follow whenever a page of ids is full."""

    def as_management_capability(self):
        return FullPages(self.at_present)


class FullPages(ModelAdmin):
    async def list_instances(self, *, status=None, limit, token=None):
        page = await super().list_instances(status=status, limit=limit, token=token)
        if page.next_token is not None or len(page.ids) < limit:
            return page
        last = self.at_present().tables.instances[page.ids[-1]]
        return replace(page, next_token=str(last.created))


def of(*kinds):
    """A provider with all of these ways of its own: no check may refuse any of them."""
    return type("Variant", kinds, {})


VARIANTS = {
    "itself": StoreBackend,
    "takes its time, voids later": lambda: StoreBackend(VoidsLater, TakesItsTime),
    "wakes for nothing, is roughly fair": lambda: StoreBackend(IsRoughlyFair, WakesForNothing),
    "finishes twenty, ends with an empty page, answers with lists": lambda: StoreBackend(
        provider=of(FinishesTwenty, EndsWithAnEmptyPage, AnswersWithLists)
    ),
    "looks for cancellations, voids activities later": lambda: StoreBackend(
        VoidsActivitiesLater, LooksForCancellationsInTheEnd
    ),
    "skips what is locked": lambda: StoreBackend(LockingStore, SkipsWhatIsLocked),
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_correct_variant_passes(variant):
    backend = VARIANTS[variant]()

    results = [judge(check, backend) for check in CLAUSES if check.id != "MODEL-1"]
    # Not so many examples as MODEL-1 has, which takes longer than all others together.
    asyncio.run(compare_with_model(backend, examples=15))

    assert [(r.id, r.message) for r in results if r.outcome is Outcome.FAILED] == []


def test_pages_of_one_event_pass(monkeypatch):
    monkeypatch.setattr(turns_module, "EVENTS_PER_PAGE", 1)
    checks = [check for check in CLAUSES if check.family in ("HIST", "ADMIN")]

    results = [judge(check, StoreBackend()) for check in checks]

    assert [(r.id, r.message) for r in results if r.outcome is Outcome.FAILED] == []
