"""Providers whose listings and counts are wrong where instances continue as new, come and end."""

from dataclasses import replace

from perdure.contract import IdPage, InstanceStatus
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model.listing import ModelAdmin

CONTINUED = InstanceStatus.CONTINUED_AS_NEW


def with_admin(**methods):
    def as_management_capability(self):
        admin = kind(self.at_present)
        admin.provider = self
        return admin

    kind = type("Admin", (ModelAdmin,), methods)
    return type("Managed", (ModelProvider,), {"as_management_capability": as_management_capability})


async def one_entry_for_each_execution(self, *, status=None, limit, token=None):
    if status is not CONTINUED:
        return await ModelAdmin.list_instances(self, status=status, limit=limit, token=token)
    tables = self.at_present().tables
    entries = [
        instance
        for instance in reversed(tables.instances)
        for row in tables.executions[instance]
        if row.state.status is CONTINUED
    ]
    begin = int(token or 0)
    more = begin + limit < len(entries)
    page = tuple(entries[begin : begin + limit])
    return IdPage(ids=page, next_token=str(begin + limit) if more else None)


@breaks("ADMIN-2")
class ListsEachContinuation(with_admin(list_instances=one_entry_for_each_execution)):
    pass


@breaks("ADMIN-2")
class ListsTheLastContinuationOnly(ModelProvider):
    def as_management_capability(self):
        class Admin(ModelAdmin):
            def has_status(self, row, status):
                if status is not CONTINUED:
                    return super().has_status(row, status)
                ended = self.at_present().tables.executions[row.state.instance][-2:-1]
                running = row.state.status is InstanceStatus.RUNNING
                return running and any(each.state.status is status for each in ended)

        return Admin(self.at_present)


def paged(order):
    """Listings with the places of their pages counted in an order that others move."""

    async def list_instances(self, *, status=None, limit, token=None):
        rows = order(self.at_present().tables.instances)
        listed = [row.state.instance for row in rows if self.has_status(row, status)]
        begin = int(token) if token is not None and token.isdecimal() else 0
        if token is not None and not (token.isascii() and token.isdecimal()):
            return await ModelAdmin.list_instances(self, status=status, limit=limit, token=token)
        more = begin + limit < len(listed)
        return IdPage(
            ids=tuple(listed[begin : begin + limit]),
            next_token=str(begin + limit) if more else None,
        )

    return list_instances


@breaks("ADMIN-3")
class CountsPagesFromTheNewest(
    with_admin(list_instances=paged(lambda rows: list(reversed(rows.values()))))
):
    pass


async def by_offset_where_a_status_is_asked_for(self, *, status=None, limit, token=None):
    if status is None:
        return await ModelAdmin.list_instances(self, status=status, limit=limit, token=token)
    return await paged(lambda rows: list(reversed(rows.values())))(
        self, status=status, limit=limit, token=token
    )


@breaks("ADMIN-3")
class CountsPagesByStatus(with_admin(list_instances=by_offset_where_a_status_is_asked_for)):
    pass


async def running_ones_first(self, *, status=None, limit, token=None):
    def order(rows):
        return sorted(
            rows.values(),
            key=lambda row: (row.state.status is not InstanceStatus.RUNNING, row.created),
        )

    return await paged(order)(self, status=status, limit=limit, token=token)


@breaks("ADMIN-3")
class ListsThoseThatRunFirst(with_admin(list_instances=running_ones_first)):
    pass


class KnowsItsOwnTokens(ModelAdmin):
    async def list_instances(self, *, status=None, limit, token=None):
        tokens = self.provider.__dict__.setdefault("tokens", {})
        place = tokens.get(token, token)
        page = await super().list_instances(status=status, limit=limit, token=place)
        if page.next_token is None:
            return page
        name = f"{id(self.provider)}-{len(tokens)}"
        tokens[name] = page.next_token
        return replace(page, next_token=name)


@breaks("ADMIN-2")
class KnowsTheTokensOfThisObjectOnly(ModelProvider):
    def as_management_capability(self):
        admin = KnowsItsOwnTokens(self.at_present)
        admin.provider = self
        return admin


@breaks("ADMIN-5")
class GivesEachExecutionTheTimesOfTheFirst(Store):
    def begin_execution(self, instance, number):
        super().begin_execution(instance, number)
        rows = self.tables.executions[instance]
        rows[-1].state = replace(rows[-1].state, started_at=rows[0].state.started_at)


@breaks("ADMIN-5")
class KeepsTwoExecutions(Store):
    def begin_execution(self, instance, number):
        super().begin_execution(instance, number)
        rows = self.tables.executions[instance]
        del rows[:-2]


async def without_the_middle(self):
    counts = await ModelAdmin.count_instances(self)
    rows = [each[1:-1] for each in self.at_present().tables.executions.values()]
    lost = sum(len(row.events) for middle in rows for row in middle)
    return replace(counts, total_events=counts.total_events - lost)


@breaks("ADMIN-7")
class CountsTheFirstAndTheLastExecution(with_admin(count_instances=without_the_middle)):
    pass


async def of_those_that_run(self):
    counts = await ModelAdmin.count_instances(self)
    tables = self.at_present().tables
    lost = sum(
        len(row.events)
        for instance, rows in tables.executions.items()
        if tables.instances[instance].state.status is not InstanceStatus.RUNNING
        for row in rows[:-1]
    )
    return replace(counts, total_events=counts.total_events - lost)


@breaks("ADMIN-7")
class ForgetsEventsOfEarlierExecutionsAtTheEnd(with_admin(count_instances=of_those_that_run)):
    pass


async def at_most_two(self):
    counts = await ModelAdmin.count_instances(self)
    rows = self.at_present().tables.executions.values()
    return replace(counts, total_executions=sum(min(2, len(each)) for each in rows))


@breaks("ADMIN-7")
class CountsTwoExecutionsAtMost(with_admin(count_instances=at_most_two)):
    pass


async def without_delays(self):
    depths = await ModelAdmin.count_queues(self)
    store = self.at_present()
    hidden = sum(
        sum(map(store.is_visible, store.tables.mailboxes.get(name, {}).values()))
        for name, row in store.tables.instances.items()
        if store.lasts(row.hidden_until) and not store.is_live(row.lease)
    )
    return replace(depths, orchestrator_queue=depths.orchestrator_queue - hidden)


@breaks("ADMIN-8")
class LeavesOutWhatIsDelayed(with_admin(count_queues=without_delays)):
    pass


async def without_later_activities(self):
    depths = await ModelAdmin.count_queues(self)
    store = self.at_present()
    later = sum((row.visible_at or 0) > store.now for row in store.tables.activities.values())
    return replace(depths, worker_queue=depths.worker_queue - later)


@breaks("ADMIN-8")
class LeavesOutLaterActivities(with_admin(count_queues=without_later_activities)):
    pass


async def with_the_front_twice(self):
    depths = await ModelAdmin.count_queues(self)
    store = self.at_present()
    front = sum(
        entry.front is not None
        for name, row in store.tables.instances.items()
        if not store.is_live(row.lease)
        for entry in store.tables.mailboxes.get(name, {}).values()
    )
    return replace(depths, orchestrator_queue=depths.orchestrator_queue + front)


@breaks("ADMIN-8")
class CountsTheFrontTwice(with_admin(count_queues=with_the_front_twice)):
    pass


@breaks("ADMIN-8")
class CountsActivitiesOfEarlierExecutions(Store):
    def drop_void_activities(self, instance):
        pass

    def is_wanted(self, row):
        owner = self.row_of(row.instance, row.incarnation)
        return owner is not None and owner.state.status is InstanceStatus.RUNNING


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
