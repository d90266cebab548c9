"""Providers that are right for one call after the other, and look before they write.

Each awaits something between its look and its write, as a provider does that reads a row in one
statement and changes it in the next, without a lock.
"""

import asyncio
import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
from perdure.contract import InstanceStatus, MessageKind
from perdure.errors import ActivityLeaseLost, InstanceAlreadyExists
from perdure_conformance.broken_providers import StoreBackend, breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider
from perdure_conformance.model.tables import Lease
from perdure_conformance.runner import judge
from perdure_conformance.tampering import PAUSES


class Awaits(ModelProvider):
    """Awaits its storage before each call, and between two statements of one."""

    async def statement(self):
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@breaks("RACE-2")
class LosesAnEventBesideTheCreation(Awaits):
    """No lock for an id that does not exist: the event goes to those that wait for the id, and the
    creation has looked for these already. A PostgreSQL provider that was certified did this."""

    async def send(self, messages):
        for message in messages:
            store = self.at_present()
            exists = message.instance in store.tables.instances
            await self.statement()
            now_exists = message.instance in store.tables.instances
            if exists or not now_exists or message.kind is not MessageKind.EVENT:
                store.put(message)


@breaks("RACE-2")
class LeavesAMessageBehindACommit(Awaits):
    """Its commit reads whether messages are left, and writes later whether the instance is ready."""

    async def commit_turn(self, commit):
        store = self.at_present()
        box = store.tables.mailboxes.get(commit.instance, {})
        left = set(box) - set(commit.remove)
        await self.statement()
        new = (
            {} if commit.keep_for or commit.end else {k: v for k, v in box.items() if k not in left}
        )
        answer = await super().commit_turn(commit)
        # Held back until another message comes, which finds the row and marks it.
        if not left and (lost := set(new) - set(commit.remove)):
            self._store.sleeping = getattr(self._store, "sleeping", {}) | {commit.instance: lost}
        return answer

    async def lease_turns(self, request):
        store = self.at_present()
        sleeping = getattr(store, "sleeping", {})
        everything = store.tables.instances
        store.tables.instances = {
            key: row
            for key, row in everything.items()
            if not sleeping.get(key) or set(store.tables.mailboxes.get(key, {})) - sleeping[key]
        }
        try:
            return await super().lease_turns(request)
        finally:
            store.tables.instances = everything


@breaks("RACE-2")
class DropsWhatComesBesideAContinuation(Awaits):
    """Voids at a continue-as-new all messages that came since it looked."""

    async def commit_turn(self, commit):
        store = self.at_present()
        seen = set(store.tables.mailboxes.get(commit.instance, {}))
        await self.statement()
        if commit.end is not None and commit.end.status is InstanceStatus.CONTINUED_AS_NEW:
            came = set(store.tables.mailboxes.get(commit.instance, {})) - seen
            store.remove_messages(commit.instance, came)
        return await super().commit_turn(commit)


@breaks("RACE-2")
class PutsAMessageTwice(Awaits):
    """Looks for the id in one statement, and inserts in the next, under another key."""

    async def send(self, messages):
        for message in messages:
            store = self.at_present()
            held = message.id in store.tables.mailboxes.get(message.instance, {})
            await self.statement()
            if not held:
                double = store.tables.mailboxes.get(message.instance, {}).pop(message.id, None)
                store.put(message)
                if double is not None:
                    store.tables.mailboxes[message.instance]["double"] = double


@breaks("RACE-3")
class RevivesALeaseBesideACommit(Awaits):
    """Its renewal writes the lease that it has read, whatever became of it."""

    async def renew_turns(self, leases, *, lease_for):
        store = self.at_present()
        rows = {lease: store.holder(lease) for lease in leases}
        await self.statement()
        for lease, row in rows.items():
            if row is not None:
                row.lease = Lease(lease.token, store.after(lease_for))
        return frozenset(lease for lease, row in rows.items() if row is None)


@breaks("RACE-3")
class CountsARepeatedReleaseTwice(Awaits):
    async def release_turn(self, release):
        row = self.at_present().holder(release.lease)
        await self.statement()
        if row is not None:
            row.attempt -= not release.counted
            await super().release_turn(replace(release, counted=True))


@breaks("RACE-3")
class LeasesToTwoLooks(Awaits):
    async def lease_turns(self, request):
        store = self.at_present()
        rows = [
            row
            for row in store.tables.instances.values()
            if store.is_ready(row) and store.serves(row, request)
        ]
        await self.statement()
        for row in rows:
            if row.lease is not None:
                row.lease = None
        return [store.give_turn(row, request) for row in rows]


@breaks("RACE-4")
class CommitsATurnTwice(Awaits):
    """Its precondition is read before the write."""

    async def commit_turn(self, commit):
        store = self.at_present()
        row = store.row_of(commit.instance, commit.incarnation)
        fits = (
            row is not None
            and store.stands(row.lease, commit.token)
            and not store.is_repeat(row, commit)
            and row.state.last_event == commit.expected_event
        )
        await self.statement()
        if not fits:
            return await super().commit_turn(commit)
        return store.carry_out(row, replace(commit, expected_event=row.state.last_event))


@breaks("RACE-4")
class LocksInItsOwnOrder(Awaits):
    """Locks the committer and then its targets, and gives up a commit that waits too long."""

    async def commit_turn(self, commit):
        locks = self._store.__dict__.setdefault("locks", {})
        names = [commit.instance, *(message.instance for message in commit.send)]
        taken = []
        try:
            for name in names:
                for _ in range(20):
                    if name not in locks:
                        break
                    await asyncio.sleep(0)
                else:
                    raise ActivityLeaseLost(commit.instance, ["deadlock"], operation="commit_turn")
                locks[name] = commit
                taken.append(name)
                await self.statement()
            return await super().commit_turn(commit)
        finally:
            for name in taken:
                locks.pop(name, None)


@breaks("RACE-4")
class CreatesAChildOverAnother(Awaits):
    async def create_instance(self, new):
        store = self.at_present()
        found = store.tables.instances.get(new.instance)
        if found is not None and found.state.incarnation != new.incarnation:
            raise InstanceAlreadyExists(new.instance)
        await self.statement()
        if found is None:
            store.tables.executions.pop(new.instance, None)
            store.tables.mailboxes.pop(new.instance, None)
            store.add_instance(new)


@breaks("RACE-5")
class CompletesWhatWasCancelled(Awaits):
    async def complete_activity(self, completion):
        store = self.at_present()
        row = store.leased_row(completion.lease)
        if row is None:
            await super().complete_activity(completion)
        await self.statement()
        store.remove_activities(completion.lease.instance, [completion.lease.activity])
        store.put(completion.message)


@breaks("RACE-5")
class AnswersARaceWithNothing(Awaits):
    """Loses a result where a commit of the instance came in between."""

    async def complete_activity(self, completion):
        store = self.at_present()
        state = store.read_instance(completion.lease.instance)
        await self.statement()
        if store.read_instance(completion.lease.instance) == state:
            await super().complete_activity(completion)
        else:
            store.remove_activities(completion.lease.instance, [completion.lease.activity])


@breaks("RACE-5")
class RevivesAnActivityBesideItsCompletion(Awaits):
    async def renew_activities(self, leases, *, lease_for):
        store = self.at_present()
        rows = {lease: store.leased_row(lease) for lease in leases}
        await self.statement()
        for lease, row in rows.items():
            if row is not None:
                row.lease = Lease(lease.token, store.after(lease_for))
                store.tables.activities[lease.instance, lease.activity] = row
        return frozenset(lease for lease, row in rows.items() if row is None)


@breaks("RACE-5")
class LeasesACancelledActivity(Awaits):
    async def lease_activities(self, request):
        store = self.at_present()
        leased = store.lease_activities(request)
        rows = {
            (each.instance, each.id): store.tables.activities[each.instance, each.id]
            for each in leased
        }
        await self.statement()
        store.tables.activities |= rows
        return leased


@breaks("RACE-6")
class ReopensOverACommit(Awaits):
    """Ends the execution with the events that it read before the commit."""

    async def reopen_instance(self, reopening):
        store = self.at_present()
        row = store.execution_row(reopening.instance, reopening.execution)
        events = [] if row is None else list(row.events)
        await self.statement()
        if row is not None:
            row.events[:] = events
        await super().reopen_instance(reopening)


@breaks("RACE-6")
class TerminatesBesideTheEnd(Awaits):
    async def terminate_instance(self, termination):
        store = self.at_present()
        row = store.row_of(termination.instance, termination.incarnation)
        running = row is not None and row.state.status is InstanceStatus.RUNNING
        await self.statement()
        if running and row.state.status is not InstanceStatus.RUNNING:
            row.state = replace(row.state, status=InstanceStatus.RUNNING)
        return store.terminate_instance(termination)


@breaks("RACE-7")
class DeletesWhatWasCreatedMeanwhile(Awaits):
    """Looks for the incarnation, and deletes by the id."""

    async def delete_instance(self, instance, *, incarnation):
        store = self.at_present()
        found = store.row_of(instance, incarnation)
        await self.statement()
        if found is None:
            return False
        row = store.tables.instances.get(instance)
        return store.delete_instance(instance, row.state.incarnation) if row else True


class RestsAtNoStatement(ModelProvider):
    """Its statements take no step of the event loop, so only a pause shows that there are two."""

    pause = None

    async def statement(self):
        if self.pause is not None:
            await self.pause.pass_by()

    async def send(self, messages):
        for message in messages:
            store = self.at_present()
            exists = message.instance in store.tables.instances
            await self.statement()
            now_exists = message.instance in store.tables.instances
            if exists or not now_exists or message.kind is not MessageKind.EVENT:
                store.put(message)


class HeldStatement:
    def __init__(self, step):
        self.reached = False
        self.left = step
        self.may_go_on = asyncio.Event()

    def go_on(self):
        self.may_go_on.set()

    async def pass_by(self):
        self.left -= 1
        if not self.left:
            self.reached = True
            await self.may_go_on.wait()


class HoldsStatements(StoreBackend):
    """Offers pauses."""

    @contextmanager
    def pause_at(self, provider, step):
        provider.pause = HeldStatement(step)
        try:
            yield provider.pause
        finally:
            provider.pause = None


def test_a_race_that_no_shift_shows_is_caught_where_the_backend_offers_pauses():
    (check,) = (check for check in CLAUSES if check.id == "RACE-2")
    plain = StoreBackend(provider=RestsAtNoStatement)
    holding = HoldsStatements(provider=RestsAtNoStatement, tampering=frozenset({PAUSES}))

    assert judge(check, plain).message == ""
    assert "was held at its access 1 while" in judge(check, holding).message


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None


def test_an_event_that_is_lost_beside_the_creation_is_caught_every_time():
    (check,) = (check for check in CLAUSES if check.id == "RACE-2")

    for _ in range(5):
        complaint = what_catches(LosesAnEventBesideTheCreation, check)
        assert "a send and a creation at once" in complaint


@pytest.mark.parametrize(
    ("race", "told"),
    [
        (LosesAnEventBesideTheCreation, "the mailbox of a-[0-9]+ holds \\['start'\\]"),
        (LeavesAMessageBehindACommit, "the mailbox of a-[0-9]+ holds \\['sent'\\]"),
    ],
    ids=["lost message", "lost wake-up"],
)
def test_a_lost_message_and_a_lost_wake_up_look_different(race, told):
    (check,) = (check for check in CLAUSES if check.id == "RACE-2")

    assert re.search(told, what_catches(race, check))
