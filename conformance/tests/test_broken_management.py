"""Providers that wait too long, wake too late, or don't count right."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from perdure.contract import IdPage, InstanceStatus, StoreQueueDepths
from perdure.errors import InvalidInput
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider
from perdure_conformance.model.listing import ModelAdmin


@breaks("WAIT-1")
class WaitsForWorkForEver(ModelProvider):
    async def wait_for_work(self, wait):
        await asyncio.Event().wait()


@breaks("WAIT-1")
class WaitsTwiceAsLong(ModelProvider):
    async def wait_for_work(self, wait):
        await self.clock.sleep(2 * wait.timeout)


@breaks("WAIT-2")
class WaitsForAChangeForEver(ModelProvider):
    async def wait_for_change(self, wait):
        await asyncio.Event().wait()


@breaks("WAIT-2")
class WaitsByTheWall(ModelProvider):
    async def wait_for_change(self, wait):
        await asyncio.sleep(wait.timeout.total_seconds())


@breaks("WAIT-3")
class SleepsThroughWork(ModelProvider):
    tells_of_work = True

    async def wait_for_work(self, wait):
        await self.clock.sleep(wait.timeout)


@breaks("WAIT-3")
class SaysThatItTellsOfWork(ModelProvider):
    """Its wait is the default, which only sleeps."""

    tells_of_work = True


@breaks("WAIT-4")
class SaysThatItTellsOfChanges(ModelProvider):
    """Its wait is the default, which only sleeps."""

    tells_of_changes = True


@breaks("WAIT-5")
class WaitsForACancellationForEver(ModelProvider):
    async def wait_for_cancellation(self, wait):
        await asyncio.Event().wait()
        return frozenset()


@breaks("WAIT-5")
class TakesAnExpiredLeaseForGone(ModelProvider):
    async def wait_for_cancellation(self, wait):
        await self.clock.sleep(wait.timeout)
        store = self.at_present()
        rows = {lease: store.leased_row(lease) for lease in wait.leases}
        return frozenset(
            lease
            for lease, row in rows.items()
            if row is None or row.lease.until <= self.clock.now()
        )


@breaks("WAIT-5")
class RenewsWhatItLooksAt(ModelProvider):
    async def wait_for_cancellation(self, wait):
        await self.clock.sleep(wait.timeout)
        return await self.renew_activities(wait.leases, lease_for=timedelta(minutes=1))


@breaks("WAIT-6")
class SaysThatItTellsOfCancellations(ModelProvider):
    """Its wait is the default, which knows of none."""

    tells_of_cancellations = True


class LooksForCancellations(ModelProvider):
    """Looks at each instance, and not at its activities."""

    tells_of_cancellations = True

    async def wait_for_cancellation(self, wait):
        await self.clock.sleep(wait.timeout)
        gone = set()
        for lease in wait.leases:
            state = await self.read_instance(lease.instance)
            if state is None or state.status is not InstanceStatus.RUNNING:
                gone.add(lease)
        return frozenset(gone)


@breaks("WAIT-6")
class NamesOnlyWhatEndedWithItsInstance(LooksForCancellations):
    pass


@breaks("WAIT-6")
class LooksForCancellationsAtTheEnd(ModelProvider):
    """Says that it tells of changes, and looks when the time is over."""

    tells_of_changes = True
    tells_of_cancellations = True

    async def wait_for_cancellation(self, wait):
        await self.clock.sleep(wait.timeout)
        store = self.at_present()
        return frozenset(each for each in wait.leases if store.leased_row(each) is None)


@breaks("WAIT-3")
class LooksForWorkOnce(ModelProvider):
    tells_of_work = True

    async def wait_for_work(self, wait):
        store = self.at_present()
        turns = wait.serves is not None and any(
            map(store.is_ready, store.tables.instances.values())
        )
        activities = wait.activity_names and any(
            map(store.is_available, store.tables.activities.values())
        )
        if not turns and not activities:
            await self.clock.sleep(wait.timeout)


class WaitsForAChange(ModelProvider):
    """Looks every tenth of a second."""

    tells_of_changes = True

    def differs(self, state, wait):
        if state is None:
            return wait.exists
        return (True, state.last_commit, state.parked) != (
            wait.exists,
            wait.last_commit,
            wait.parked,
        )

    async def wait_for_change(self, wait):
        for _ in range(int(wait.timeout.total_seconds() * 10)):
            if self.differs(await self.read_instance(wait.instance), wait):
                return
            await self.clock.sleep(timedelta(milliseconds=100))


@breaks("WAIT-4")
class MissesWhatChangedBeforeTheWait(WaitsForAChange):
    async def wait_for_change(self, wait):
        state = await self.read_instance(wait.instance)
        if state is not None:
            wait = replace(wait, exists=True, last_commit=state.last_commit, parked=state.parked)
        await super().wait_for_change(wait)


@breaks("WAIT-4")
class MissesMarks(WaitsForAChange):
    def differs(self, state, wait):
        return super().differs(state and replace(state, parked=wait.parked), wait)


@breaks("WAIT-4")
class MissesCreation(WaitsForAChange):
    def differs(self, state, wait):
        return state is not None and super().differs(state, replace(wait, exists=True))


@breaks("WAIT-4")
class MissesCommits(WaitsForAChange):
    def differs(self, state, wait):
        return super().differs(state and replace(state, last_commit=wait.last_commit), wait)


class LooksOtherwise(ModelProvider):
    """Has another management face."""

    face = ModelAdmin

    def as_management_capability(self):
        return self.face(self.at_present)


@breaks("ADMIN-1", "ADMIN-2")
class ListsTheOldestFirst(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_instances(self, *, status=None, limit, token=None):
            page = await super().list_instances(status=status, limit=100, token=token)
            return IdPage(ids=page.ids[::-1][:limit])


@breaks("ADMIN-1", "ADMIN-3")
class ListsOnePage(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_instances(self, *, status=None, limit, token=None):
            page = await super().list_instances(status=status, limit=limit, token=token)
            return replace(page, next_token=None)


@breaks("ADMIN-1", "ADMIN-2")
class IgnoresTheSizeOfPages(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_instances(self, *, status=None, limit, token=None):
            return await super().list_instances(status=status, limit=100, token=token)


@breaks("ADMIN-1")
class ListsByChange(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_instances(self, *, status=None, limit, token=None):
            rows = self.at_present().tables.instances.values()
            rows = sorted(rows, key=lambda row: row.state.updated_at, reverse=True)
            begin = int(token or 0)
            ids = tuple(row.state.instance for row in rows)
            more = str(begin + limit) if len(ids) > begin + limit else None
            return IdPage(ids=ids[begin : begin + limit], next_token=more)


@breaks("ADMIN-2")
class IgnoresTheStatus(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        def has_status(self, row, status):
            return True


@breaks("ADMIN-2")
class ForgetsContinuedOnes(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        def has_status(self, row, status):
            return status is None or row.state.status is status


@breaks("ADMIN-2")
class ListsContinuedOnesTwice(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_instances(self, *, status=None, limit, token=None):
            page = await super().list_instances(status=status, limit=limit, token=token)
            twice = status is InstanceStatus.CONTINUED_AS_NEW and page.ids
            return replace(page, ids=page.ids + page.ids[-1:]) if twice else page


@breaks("ADMIN-3")
class PagesByNumber(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_instances(self, *, status=None, limit, token=None):
            page = await super().list_instances(status=status, limit=1000)
            begin = int(token or 0)
            more = str(begin + limit) if len(page.ids) > begin + limit else None
            return IdPage(ids=page.ids[begin : begin + limit], next_token=more)


@breaks("ADMIN-4")
class TakesAnyToken(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_instances(self, *, status=None, limit, token=None):
            try:
                return await super().list_instances(status=status, limit=limit, token=token)
            except InvalidInput:
                return await super().list_instances(status=status, limit=limit)


@breaks("ADMIN-4")
class TakesAnEmptyTokenForNone(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_instances(self, *, status=None, limit, token=None):
            return await super().list_instances(status=status, limit=limit, token=token or None)


@breaks("ADMIN-5")
class ForgetsWhenExecutionsBegan(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_executions(self, instance):
            state = self.at_present().read_instance(instance)
            found = await super().list_executions(instance)
            return [replace(each, started_at=state.created_at) for each in found]


@breaks("ADMIN-5")
class ListsTheNewestExecutionOnly(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_executions(self, instance):
            return (await super().list_executions(instance))[-1:]


@breaks("ADMIN-5")
class NumbersExecutionsFromZero(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def list_execution_numbers(self, instance):
            return range(len(await self.list_executions(instance)))


@breaks("ADMIN-6")
class ReadsEventsOfTheNewestExecution(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def read_events(self, instance, execution, *, after=0):
            found = await self.list_executions(instance)
            newest = len(found) if 0 < execution <= len(found) else execution
            return await super().read_events(instance, newest, after=after)


@breaks("ADMIN-7")
class CountsContinuedExecutionsTwice(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def count_instances(self):
            found = await super().count_instances()
            extra = found.total_executions - found.total_instances
            return replace(found, total_instances=found.total_instances + extra)


@breaks("ADMIN-7")
class CountsEventsOfTheNewestExecution(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def count_instances(self):
            rows = self.at_present().tables.executions.values()
            events = sum(len(each[-1].events) for each in rows)
            return replace(await super().count_instances(), total_events=events)


class Counts(ModelAdmin):
    """Counts every row there is."""

    async def count_queues(self):
        tables = self.at_present().tables
        entries = sum(len(box) for box in tables.mailboxes.values())
        return StoreQueueDepths(orchestrator_queue=entries, worker_queue=len(tables.activities))


@breaks("ADMIN-8")
class CountsRows(LooksOtherwise):
    face = Counts


@breaks("ADMIN-8")
class CountsLeasedWork(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def count_queues(self):
            store = self.at_present()
            found = await super().count_queues()
            return replace(found, worker_queue=len(store.tables.activities))


@breaks("ADMIN-8")
class CountsWaitingEvents(LooksOtherwise):
    class face(ModelAdmin):  # noqa: N801
        async def count_queues(self):
            tables = self.at_present().tables
            waiting = sum(
                len(b) for name, b in tables.mailboxes.items() if name not in tables.instances
            )
            found = await super().count_queues()
            return replace(found, orchestrator_queue=found.orchestrator_queue + waiting)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
