"""Providers that find too many instances, too few, or show them wrong."""

import asyncio
from dataclasses import replace
from typing import ClassVar

from perdure.contract import InstancePage, InstanceStatus, QueuedMessage
from perdure.errors import InvalidInput
from perdure_conformance.broken_providers import StoreBackend, breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model.listing import ModelAdmin


@breaks("CALL-12")
class ListsWithoutManagement(StoreBackend):
    def __init__(self):
        class Unmanaged(ModelProvider):
            capabilities = frozenset({"listing"})

            def as_management_capability(self):
                return None

        super().__init__(provider=Unmanaged, capabilities=frozenset({"listing"}))


class CreatesWithLabels(Store):
    def add_instance(self, new):
        super().add_instance(replace(new, labels=self.changed(dict(new.labels))))


@breaks("LIST-1")
class ForgetsLabels(CreatesWithLabels):
    def changed(self, labels):
        return {}


@breaks("LIST-1")
class FoldsLabels(CreatesWithLabels):
    def changed(self, labels):
        return {key: value.lower() for key, value in labels.items()}


@breaks("LIST-1")
class KeepsFourLabels(CreatesWithLabels):
    def changed(self, labels):
        return dict(list(labels.items())[:4])


@breaks("LIST-1")
class CutsLabels(CreatesWithLabels):
    def changed(self, labels):
        return {key: value[:100] for key, value in labels.items()}


@breaks("LIST-1")
class ForgetsEmptyLabels(CreatesWithLabels):
    def changed(self, labels):
        return {key: value for key, value in labels.items() if value}


@breaks("LIST-1")
class InheritsLabels(Store):
    def create_child(self, child):
        labels = self.tables.instances["full"].state.labels
        return super().create_child(replace(child, instance=replace(child.instance, labels=labels)))


class Lists(ModelProvider):
    """Has another face for listings."""

    face = ModelAdmin

    def as_management_capability(self):
        return self.face(self.at_present)


@breaks("LIST-2")
class FindsTheOldestFirst(Lists):
    class face(ModelAdmin):  # noqa: N801
        async def find_instances(self, query, *, limit, token=None):
            page = await super().find_instances(query, limit=1000, token=token)
            return InstancePage(instances=page.instances[::-1][:limit])


@breaks("LIST-2", "LIST-4")
class FindsOnePage(Lists):
    class face(ModelAdmin):  # noqa: N801
        async def find_instances(self, query, *, limit, token=None):
            page = await super().find_instances(query, limit=limit, token=token)
            return replace(page, next_token=None)


@breaks("LIST-2")
class FindsMoreThanTheLimit(Lists):
    class face(ModelAdmin):  # noqa: N801
        async def find_instances(self, query, *, limit, token=None):
            return await super().find_instances(query, limit=limit + 1, token=token)


@breaks("LIST-2", "LIST-3")
class FindsWithoutOutputs(Lists):
    class face(ModelAdmin):  # noqa: N801
        async def find_instances(self, query, *, limit, token=None):
            page = await super().find_instances(query, limit=limit, token=token)
            return replace(page, instances=tuple(replace(e, output=None) for e in page.instances))


class Ignores(ModelAdmin):
    """Passes over one condition of a query."""

    ignored: ClassVar = {}

    def meets(self, state, query):
        return super().meets(state, replace(query, **self.ignored))


def ignoring(**ignored):
    class Face(Ignores):
        pass

    Face.ignored = ignored
    return Face


@breaks("LIST-3")
class FindsAnyStatus(Lists):
    face = ignoring(statuses=frozenset())


@breaks("LIST-3")
class FindsAnyOrchestration(Lists):
    face = ignoring(orchestrations=frozenset())


@breaks("LIST-3")
class FindsParkedOrNot(Lists):
    face = ignoring(parked=None)


@breaks("LIST-3")
class FindsAnyReason(Lists):
    face = ignoring(parked_reasons=frozenset())


@breaks("LIST-3")
class FindsAnyPrefix(Lists):
    face = ignoring(id_prefix="")


@breaks("LIST-3")
class FindsAnyCreation(Lists):
    face = ignoring(created_from=None)


@breaks("LIST-3")
class FindsAnyUpdate(Lists):
    face = ignoring(updated_before=None)


@breaks("LIST-3")
class FindsAnyParent(Lists):
    face = ignoring(parent=None)


@breaks("LIST-3")
class FindsChildrenToo(Lists):
    face = ignoring(roots_only=False)


@breaks("LIST-3")
class FindsAnyLabels(Lists):
    face = ignoring(labels={})


@breaks("LIST-3")
class FindsWhatWasCreatedLater(Lists):
    class face(ModelAdmin):  # noqa: N801
        def meets(self, state, query):
            if query.created_before is not None:
                query = replace(query, created_before=query.created_before + 1)
            return super().meets(state, query)


@breaks("LIST-3")
class LeavesOutTheInstantItself(Lists):
    class face(ModelAdmin):  # noqa: N801
        def meets(self, state, query):
            if query.updated_from is not None:
                query = replace(query, updated_from=query.updated_from + 1)
            return super().meets(state, query)


@breaks("LIST-3")
class NeedsOneLabelOfSeveral(Lists):
    class face(ModelAdmin):  # noqa: N801
        def meets(self, state, query):
            labels = dict(list(query.labels.items())[:1])
            return super().meets(state, replace(query, labels=labels))


@breaks("LIST-3")
class TakesPrefixesForPatterns(Lists):
    class face(ModelAdmin):  # noqa: N801
        def meets(self, state, query):
            prefix = query.id_prefix
            begin = state.instance[: len(prefix)]
            alike = len(begin) == len(prefix) and all(
                wanted in ("_", "%", found) for wanted, found in zip(prefix, begin, strict=True)
            )
            return alike and super().meets(state, replace(query, id_prefix=""))


@breaks("LIST-3")
class FiltersAfterTheLimit(Lists):
    class face(ModelAdmin):  # noqa: N801
        async def find_instances(self, query, *, limit, token=None):
            page = await super().find_instances(replace(query, labels={}), limit=limit, token=token)
            if not query.labels:
                return page
            found = tuple(e for e in page.instances if self.meets(e, query))
            return InstancePage(instances=found)


@breaks("LIST-4")
class FindsByNumber(Lists):
    class face(ModelAdmin):  # noqa: N801
        async def find_instances(self, query, *, limit, token=None):
            page = await super().find_instances(query, limit=1000)
            begin = int(token or 0)
            more = str(begin + limit) if len(page.instances) > begin + limit else None
            return InstancePage(instances=page.instances[begin : begin + limit], next_token=more)


@breaks("LIST-5")
class TakesTokensOfAnyQuery(Lists):
    class face(ModelAdmin):  # noqa: N801
        def place_in(self, token, query):
            place = token.rpartition("-")[2]
            if not (place.isascii() and place.isdecimal()):
                raise InvalidInput(
                    f"the page token {token!r} is not one; pass next_token unchanged"
                )
            return int(place)


@breaks("LIST-5")
class TakesAnyTokenForAFirstPage(Lists):
    class face(ModelAdmin):  # noqa: N801
        def place_in(self, token, query):
            try:
                return super().place_in(token, query)
            except InvalidInput:
                return 1_000_000


@breaks("LIST-6")
class FindsPagesOfAnySize(Lists):
    class face(ModelAdmin):  # noqa: N801
        def size_of(self, row):
            return 0


@breaks("LIST-6")
class ForgetsTheSizeOfStatuses(Lists):
    class face(ModelAdmin):  # noqa: N801
        def size_of(self, row):
            return len(row.state.output or b"")


@breaks("LIST-6")
class PassesOverLargeOnes(Lists):
    class face(ModelAdmin):  # noqa: N801
        def meets(self, state, query):
            return len(state.output or b"") <= 4 * 1024 * 1024 and super().meets(state, query)


class Works(Lists):
    """Changes what is shown of the work of an instance."""

    class face(ModelAdmin):  # noqa: N801
        changed = staticmethod(lambda work: work)

        async def read_work(self, instance):
            found = await super().read_work(instance)
            return found and self.changed(found)


def showing(change):
    class Face(Works.face):
        changed = staticmethod(change)

    return Face


class NotesVoidMessages(Store):
    def put(self, message):
        if self.is_void(message):
            self.void = [*getattr(self, "void", ()), message]
        super().put(message)


@breaks("LIST-7")
class ShowsVoidMessages(StoreBackend):
    def __init__(self):
        class Shows(Lists):
            class face(ModelAdmin):  # noqa: N801
                async def read_work(self, instance):
                    found = await super().read_work(instance)
                    void = [
                        m for m in getattr(self.at_present(), "void", ()) if m.instance == instance
                    ]
                    shown = tuple(
                        QueuedMessage(id=m.id, kind=m.kind, size=len(m.data)) for m in void
                    )
                    return found and replace(found, messages=found.messages + shown)

        super().__init__(store=NotesVoidMessages, provider=Shows)


@breaks("LIST-7")
class ShowsMessagesAsTheyCame(Works):
    class face(ModelAdmin):  # noqa: N801
        def messages_of(self, store, instance):
            found = super().messages_of(store, instance)
            return sorted(found, key=lambda entry: entry.arrival)


@breaks("LIST-7")
class ShowsVisibleMessagesAlone(Works):
    class face(ModelAdmin):  # noqa: N801
        def messages_of(self, store, instance):
            return [e for e in super().messages_of(store, instance) if store.is_visible(e)]


@breaks("LIST-7")
class ShowsAllMessages(Works):
    face = showing(lambda work: replace(work, more=False))


@breaks("LIST-7")
class ShowsNoLease(Works):
    face = showing(lambda work: replace(work, leased_until=None))


@breaks("LIST-7")
class ShowsNoDelay(Works):
    face = showing(lambda work: replace(work, delayed_until=None))


@breaks("LIST-7")
class ShowsNoAttempt(Works):
    face = showing(lambda work: replace(work, attempt=0))


@breaks("LIST-7")
class ShowsActivitiesWithoutTheirDelay(Works):
    class face(ModelAdmin):  # noqa: N801
        def queued(self, store, row):
            return replace(super().queued(store, row), visible_at=row.visible_at)


@breaks("LIST-7")
class ShowsTheWorkOfWhatIsNotThere(Works):
    class face(ModelAdmin):  # noqa: N801
        async def read_work(self, instance):
            store = self.at_present()
            if instance in store.tables.mailboxes and instance not in store.tables.instances:
                return "early events"
            return await super().read_work(instance)


@breaks("LIST-8")
class MixesStates(Lists):
    class face(ModelAdmin):  # noqa: N801
        async def find_instances(self, query, *, limit, token=None):
            first = {name: row.state for name, row in self.at_present().tables.instances.items()}
            for _ in range(2):
                await asyncio.sleep(0)
            page = await super().find_instances(query, limit=limit, token=token)
            mixed = [replace(e, last_event=first[e.instance].last_event) for e in page.instances]
            return replace(page, instances=tuple(mixed))


@breaks("LIST-8")
class FindsStatesOfLongAgo(Lists):
    class face(ModelAdmin):  # noqa: N801
        async def find_instances(self, query, *, limit, token=None):
            page = await super().find_instances(query, limit=limit, token=token)
            running = InstanceStatus.RUNNING
            return replace(
                page,
                instances=tuple(
                    replace(e, last_event=max(0, e.last_event - 9), status=running)
                    for e in page.instances
                ),
            )


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
