"""Providers that misread histories."""

from dataclasses import replace

from perdure.contract import HistoryPage
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store


@breaks("HIST-1", "ADMIN-6")
class CountsPagesFromTheNumber(Store):
    def page(self, row, after):
        return super().page(row, max(0, after - 1))


@breaks("HIST-1", "HIST-5", "ADMIN-6")
class ReadsOnePageOnly(Store):
    def page(self, row, after):
        return replace(super().page(row, after), more=False)


@breaks("HIST-1")
class AlwaysSaysThatMoreFollow(Store):
    def page(self, row, after):
        page = super().page(row, after)
        return HistoryPage(events=page.events, more=bool(page.events))


@breaks("HIST-2")
class ReadsFromAStaleReplica(ModelProvider):
    async def lease_turns(self, request):
        turns = await super().lease_turns(request)
        self.replica = {
            name: [list(e.events) for e in rows]
            for name, rows in self._store.tables.executions.items()
        }
        return turns

    async def read_history(self, instance, execution, *, incarnation, after=0):
        page = await super().read_history(instance, execution, incarnation=incarnation, after=after)
        known = self.__dict__.setdefault("replica", {}).get(instance, [])
        if len(known) >= execution and len(known[execution - 1]) < after + len(page.events):
            return page
        return replace(page, events=page.events[:-1]) if len(page.events) > 3 else page


@breaks("HIST-3")
class ReadsAnyIncarnation(Store):
    def row_of(self, instance, incarnation):
        return self.tables.instances.get(instance)


@breaks("HIST-3")
class ReadsNothingOfNothing(Store):
    def read_history(self, instance, execution, incarnation, after):
        if self.execution_row(instance, execution) is None:
            return HistoryPage(events=(), more=False)
        return super().read_history(instance, execution, incarnation, after)


@breaks("HIST-4", "COMMIT-19")
class KeepsTheNewestHistoryOnly(Store):
    def begin_execution(self, instance, number):
        for row in self.tables.executions.get(instance, []):
            row.events.clear()
        super().begin_execution(instance, number)


@breaks("HIST-4")
class GivesEachExecutionTheFirstHistory(Store):
    def begin_execution(self, instance, number):
        super().begin_execution(instance, number)
        rows = self.tables.executions[instance]
        rows[-1].events = rows[0].events


@breaks("HIST-5")
class KeepsFiveThousandEvents(Store):
    def append_events(self, commit):
        super().append_events(commit)
        del self.tables.executions[commit.instance][-1].events[5000:]


@breaks("HIST-5")
class CutsLargeEvents(Store):
    def append_events(self, commit):
        super().append_events(replace(commit, events=tuple(e[:1_000_000] for e in commit.events)))


@breaks("READ-1")
class ShowsIdsThatHaveMail(Store):
    def read_instance(self, instance):
        row = self.tables.instances.get(instance)
        if row is None and self.tables.mailboxes.get(instance):
            return (
                next(iter(self.tables.instances.values()), object()).state
                if self.tables.instances
                else instance
            )
        return super().read_instance(instance)


@breaks("READ-1", "COMMIT-18")
class HidesTheOutput(Store):
    def read_instance(self, instance):
        state = super().read_instance(instance)
        return None if state is None else replace(state, output=None)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
