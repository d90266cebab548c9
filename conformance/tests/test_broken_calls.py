"""Providers that break what holds for every call, and creation."""

import asyncio
import unicodedata
from dataclasses import replace
from typing import ClassVar

from perdure.clock import SystemClock
from perdure.contract import LONGEST_LEASE, InstanceStatus, check_lease
from perdure.errors import InstanceAlreadyExists
from perdure_conformance.broken_providers import StoreBackend, breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.locking_store import SkipsWhatIsLocked, breaks_locking
from perdure_conformance.model import ModelProvider, Store


@breaks("CALL-1", "LEASE-3", "MAIL-2")
class TakesTimeFromTheWall(ModelProvider):
    def at_present(self):
        self._store.now = SystemClock().now()
        return self._store


@breaks_locking("CALL-14")
class FindsNothingBesideOtherCalls(SkipsWhatIsLocked):
    async def lease_turns(self, request):
        return () if self.locks.locked.total() else await super().lease_turns(request)


@breaks_locking("CALL-14")
class FindsNoActivitiesBesideOtherCalls(SkipsWhatIsLocked):
    async def lease_activities(self, request):
        return () if self.locks.locked.total() else await super().lease_activities(request)


@breaks_locking("CALL-14")
class NeverFindsWhatItPassedOver(SkipsWhatIsLocked):
    async def lease_turns(self, request):
        self.locks.passed_over.update(+self.locks.locked)
        turns = await super().lease_turns(request)
        return tuple(turn for turn in turns if turn.state.instance not in self.locks.passed_over)


@breaks_locking("CALL-14")
class LeasesTheActivitiesThatItPassesOver(SkipsWhatIsLocked):
    async def lease_activities(self, request):
        locked = set(+self.locks.locked)
        self.locks.locked.clear()
        found = await super().lease_activities(request)
        return tuple(each for each in found if each.instance not in locked)


@breaks("CALL-6")
class EndsTextsAtANull(Store):
    def create_instance(self, new):
        cut = new.instance.partition("\0")[0]
        start = replace(new.start, instance=cut)
        super().create_instance(replace(new, instance=cut, start=start))


@breaks("CALL-6")
class LeaksWhatItsDriverSaysOfANull(Store):
    def put(self, message):
        if "\0" in message.id:
            raise ValueError("embedded null character")
        super().put(message)


@breaks("CALL-6")
class CutsDetails(Store):
    def release_turn(self, release):
        if release.parked is not None:
            parked = replace(release.parked, details=release.parked.details[:3999])
            release = replace(release, parked=parked)
        super().release_turn(release)


@breaks("CALL-2")
class ReturnsLiveMessages(ModelProvider):
    async def lease_turns(self, request):
        turns = [
            replace(turn, messages=list(turn.messages))
            for turn in await super().lease_turns(request)
        ]
        self.given = getattr(self, "given", []) + turns
        return turns

    async def send(self, messages):
        await super().send(messages)
        for turn in getattr(self, "given", []):
            turn.messages.extend(messages)


@breaks("CALL-2")
class KeepsTheCallersList(ModelProvider):
    waiting = None

    async def send(self, messages):
        self.waiting = messages

    async def lease_turns(self, request):
        if self.waiting is not None:
            await super().send(self.waiting)
            self.waiting = None
        return await super().lease_turns(request)


@breaks("CALL-3")
class HasOneNamespace(StoreBackend):
    def key(self, namespace):
        return "all"


@breaks("CALL-4", "CREATE-6")
class HasAStoreForEachObject(StoreBackend):
    def key(self, namespace):
        self.opened = getattr(self, "opened", 0) + 1
        return "shared" if namespace.endswith("-x") else str(self.opened)


@breaks("CALL-4", "READ-1")
class CachesWhatItRead(ModelProvider):
    async def read_instance(self, instance):
        self.__dict__.setdefault("cache", {})
        found = self.cache.get(instance) or await super().read_instance(instance)
        self.cache[instance] = found
        return found


@breaks("CALL-4", "HIST-2")
class CachesHistories(ModelProvider):
    async def read_history(self, instance, execution, *, incarnation, after=0):
        self.__dict__.setdefault("cache", {})
        key = (instance, execution, after)
        if key not in self.cache:
            self.cache[key] = await super().read_history(
                instance, execution, incarnation=incarnation, after=after
            )
        return self.cache[key]


@breaks("CALL-5")
class FinishesFour(ModelProvider):
    finish_limit = 4


class FoldedKeys(dict):
    fold = staticmethod(str.casefold)

    def __setitem__(self, key, value):
        super().__setitem__(self.fold(key), value)

    def __getitem__(self, key):
        return super().__getitem__(self.fold(key))

    def get(self, key, default=None):
        return super().get(self.fold(key), default)


class CutKeys(FoldedKeys):
    fold = staticmethod(lambda key: key[:255])


class ComposedKeys(FoldedKeys):
    fold = staticmethod(lambda key: unicodedata.normalize("NFC", key))


class StrippedKeys(FoldedKeys):
    fold = staticmethod(str.strip)


class WithKeys(Store):
    keys = FoldedKeys

    def __init__(self):
        super().__init__()
        self.tables.instances = self.keys()


@breaks("CALL-6")
class FoldsCase(WithKeys):
    keys = FoldedKeys


@breaks("CALL-6")
class CutsLongIds(WithKeys):
    keys = CutKeys


@breaks("CALL-6")
class ComposesUnicode(WithKeys):
    keys = ComposedKeys


@breaks("CALL-6")
class StripsSpaces(WithKeys):
    keys = StrippedKeys


@breaks("CALL-7")
class StripsZeroBytes(Store):
    def put(self, message):
        super().put(replace(message, data=message.data.rstrip(b"\0").replace(b"\0", b"")))


@breaks("CALL-7")
class CutsLargePayloads(Store):
    def put(self, message):
        super().put(replace(message, data=message.data[: 4 * 1024 * 1024]))


@breaks("CALL-7")
class DropsEmptyEvents(Store):
    def append_events(self, commit):
        super().append_events(replace(commit, events=tuple(filter(None, commit.events))))


@breaks("CALL-8")
class DeclaresManagementAndHasNone(ModelProvider):
    def as_management_capability(self):
        return None


@breaks("CALL-8")
class HasManagementUndeclared(StoreBackend):
    def __init__(self):
        super().__init__(capabilities=frozenset())


@breaks("CALL-11")
class LeasesTurnsForAnyLength(ModelProvider):
    async def lease_turns(self, request):
        return self.at_present().lease_turns(request)


@breaks("CALL-11")
class LeasesActivitiesForAnyLength(ModelProvider):
    async def lease_activities(self, request):
        return self.at_present().lease_activities(request)


@breaks("CALL-11")
class RenewsTurnsForAnyLength(ModelProvider):
    async def renew_turns(self, leases, *, lease_for):
        return self.at_present().renew_turns(leases, lease_for)


@breaks("CALL-11")
class RenewsActivitiesForAnyLength(ModelProvider):
    async def renew_activities(self, leases, *, lease_for):
        return self.at_present().renew_activities(leases, lease_for)


@breaks("CALL-11")
class CommitsForAnyLength(ModelProvider):
    async def commit_turn(self, commit):
        return self.at_present().commit_turn(commit)


@breaks("CALL-11")
class KeepsLeasesForAnyLength(ModelProvider):
    async def commit_turn(self, commit):
        if commit.keep_for is not None:
            return self.at_present().commit_turn(commit)
        return await super().commit_turn(commit)


@breaks("CALL-11")
class DelaysTurnsForAnyLength(ModelProvider):
    async def release_turn(self, release):
        self.at_present().release_turn(release)


@breaks("CALL-11")
class DelaysActivitiesForAnyLength(ModelProvider):
    async def release_activity(self, release):
        self.at_present().release_activity(release)


@breaks("CALL-11")
class RefusesTheLongestLease(ModelProvider):
    async def commit_turn(self, commit):
        if commit.keep_for == LONGEST_LEASE:
            check_lease("keep_for", commit.keep_for * 2)
        return await super().commit_turn(commit)


class Creates(Store):
    changed: ClassVar = {}

    def add_instance(self, new):
        super().add_instance(new)
        row = self.tables.instances[new.instance]
        row.state = replace(row.state, **self.changed)


@breaks("CREATE-1", "COMMIT-16")
class ForgetsTheParent(Creates):
    changed: ClassVar = {"parent": None}


@breaks("CREATE-1", "LEASE-6")
class ForgetsTheEngine(Creates):
    changed: ClassVar = {"engine": 1}


@breaks("CREATE-1", "LEASE-5", "COMMIT-16")
class ForgetsTheVersion(Creates):
    changed: ClassVar = {"version": None}


@breaks("CREATE-1")
class BeginsAtExecutionZero(Creates):
    changed: ClassVar = {"execution": 0}


@breaks("CREATE-2", "LEASE-1")
class StartsLater(Store):
    def add_instance(self, new):
        super().add_instance(replace(new, start=replace(new.start, visible_at=self.now + 1)))


@breaks("CREATE-2", "MAIL-3")
class HasNoStart(Store):
    def add_instance(self, new):
        super().add_instance(new)
        self.tables.mailboxes.pop(new.instance)


@breaks("CREATE-3", "COMMIT-17")
class GivesEndedIdsAway(Store):
    def create_instance(self, new):
        row = self.tables.instances.get(new.instance)
        if row is not None and row.state.status is not InstanceStatus.RUNNING:
            del self.tables.instances[new.instance]
        super().create_instance(new)


@breaks("CREATE-3")
class OverwritesTheStart(Store):
    def create_instance(self, new):
        if new.instance in self.tables.instances:
            self.tables.mailboxes.get(new.instance, {}).pop("start", None)
            self.put(replace(new.start, incarnation=None))
        super().create_instance(new)


@breaks("CREATE-4", "COMMIT-17")
class RefusesARepeatedCreate(Store):
    def create_instance(self, new):
        if new.instance in self.tables.instances:
            raise InstanceAlreadyExists(new.instance)
        super().create_instance(new)


@breaks("CREATE-4")
class StartsTwice(Store):
    def create_instance(self, new):
        super().create_instance(new)
        self.put(new.start)


@breaks("CREATE-5", "COMMIT-16", "MAIL-6")
class ForgetsWaitingEvents(Store):
    def add_instance(self, new):
        self.tables.mailboxes.pop(new.instance, None)
        super().add_instance(new)


@breaks("CREATE-6")
class LetsTwoCreatesWin(ModelProvider):
    async def create_instance(self, new):
        if await self.read_instance(new.instance) is None:
            await asyncio.sleep(0)
            self.at_present().add_instance(new)
        else:
            await super().create_instance(new)


@breaks("CREATE-7")
class CreatesInTwoSteps(ModelProvider):
    async def create_instance(self, new):
        start = new.start
        store = self.at_present()
        store.create_instance(replace(new, start=replace(start, incarnation="void")))
        await asyncio.sleep(0)
        store.put(start)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
