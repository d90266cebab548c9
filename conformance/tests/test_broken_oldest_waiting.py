"""Providers that tell wrongly since when the oldest message and the oldest activity wait."""

from dataclasses import replace

from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider
from perdure_conformance.model.listing import ModelAdmin


def telling(**tell):
    """A provider that tells the least of other instants."""

    class Admin(ModelAdmin):
        async def count_queues(self):
            store = self.at_present()
            told = {field: min(of(store), default=None) for field, of in tell.items()}
            return replace(await super().count_queues(), **told)

    class Telling(ModelProvider):
        def as_management_capability(self):
            admin = Admin(self.at_present)
            admin.provider = self
            return admin

    return Telling


def ready(store):
    return filter(store.is_ready, store.tables.instances.values())


def available(store):
    return filter(store.is_available, store.tables.activities.values())


def first_entry(store, row):
    return min(entry.due for entry in store.unsorted_visible(row.state.instance))


def first_added(row):
    return row.added_at if row.visible_at is None else row.visible_at


@breaks("ADMIN-9")
class TellsNoMessage(telling(oldest_message=lambda store: ())):
    pass


@breaks("ADMIN-9")
class TellsNoActivity(telling(oldest_activity=lambda store: ())):
    pass


def since_the_arrival(store):
    return (first_entry(store, row) for row in ready(store))


@breaks("ADMIN-9")
class TellsTheNewestMessage(
    telling(oldest_message=lambda store: sorted(since_the_arrival(store))[-1:])
):
    pass


@breaks("ADMIN-9")
class CountsFromTheArrival(telling(oldest_message=since_the_arrival)):
    pass


@breaks("ADMIN-9")
class CountsFromTheAddition(
    telling(oldest_activity=lambda store: map(first_added, available(store)))
):
    pass


def since_the_release(store):
    return (store.waiting_since(row)[0] for row in ready(store))


@breaks("ADMIN-9")
class ForgetsWhatHidAnInstance(telling(oldest_message=since_the_release)):
    pass


@breaks("ADMIN-9")
class ForgetsWhatHidAnActivity(
    telling(oldest_activity=lambda store: (row.due for row in available(store)))
):
    pass


def of_hidden_instances(store):
    rows = store.tables.instances.values()
    return (
        store.free_since(row, store.waiting_since(row)[0])
        for row in rows
        if store.has_visible(row.state.instance)
    )


@breaks("ADMIN-9")
class TellsOfLeasedInstances(telling(oldest_message=of_hidden_instances)):
    pass


def of_delayed_instances(store):
    rows = store.tables.instances.values()
    return (
        store.free_since(row, store.waiting_since(row)[0])
        for row in rows
        if store.has_visible(row.state.instance) and not store.is_live(row.lease)
    )


@breaks("ADMIN-9")
class TellsOfDelayedInstances(telling(oldest_message=of_delayed_instances)):
    pass


def of_all_messages(store):
    free = (row for row in store.tables.instances.values() if not store.is_live(row.lease))
    boxes = (store.tables.mailboxes.get(row.state.instance, {}) for row in free)
    return (entry.due for box in boxes for entry in box.values())


@breaks("ADMIN-9")
class TellsOfMessagesThatAreDueLater(telling(oldest_message=of_all_messages)):
    pass


def of_early_events(store):
    boxes = store.tables.mailboxes.items()
    return (entry.due for name, box in boxes for entry in box.values() if name == "ghost")


@breaks("ADMIN-9")
class TellsOfEarlyEvents(telling(oldest_message=of_early_events)):
    pass


def of_leased_activities(store):
    rows = store.tables.activities.values()
    return (store.free_since(row, row.due) for row in rows if row.due <= store.now)


@breaks("ADMIN-9")
class TellsSinceWhenLeasedActivitiesWait(telling(oldest_activity=of_leased_activities)):
    pass


def of_delayed_activities(store):
    rows = store.tables.activities.values()
    free = (row for row in rows if not store.is_live(row.lease) and row.due <= store.now)
    return (store.free_since(row, row.due) for row in free)


@breaks("ADMIN-9")
class TellsOfDelayedActivities(telling(oldest_activity=of_delayed_activities)):
    pass


def of_later_activities(store):
    rows = store.tables.activities.values()
    return (store.free_since(row, row.due) for row in rows if not store.is_live(row.lease))


@breaks("ADMIN-9")
class TellsOfActivitiesThatAreDueLater(telling(oldest_activity=of_later_activities)):
    pass


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
