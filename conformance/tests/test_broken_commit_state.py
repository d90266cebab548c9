"""Providers whose commits leave their instance or its lease in another state."""

from dataclasses import replace
from datetime import timedelta

from perdure.contract import InstanceStatus
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import Store


class Commits(Store):
    """Carries out another commit than the one it was given."""

    def changed(self, commit):
        return commit

    def carry_out(self, row, commit):
        return super().carry_out(row, self.changed(commit))


class Fields(Store):
    """Sets plain fields otherwise."""

    def changed(self, before, after):
        return after

    def set_fields(self, row, commit):
        before = row.state
        super().set_fields(row, commit)
        row.state = self.changed(before, row.state)


@breaks("COMMIT-18", "ACT-9", "ACT-15", "COMMIT-19")
class KeepsTheActivitiesOfWhatEnded(Store):
    def is_wanted(self, row):
        return True


@breaks("COMMIT-18")
class KeepsTheLeaseOfAnEndedInstance(Store):
    def answer(self, row, commit, in_use):
        found = super().answer(row, commit, in_use)
        return (
            found
            if commit.keep_for is None
            else replace(found, lease_until=self.after(commit.keep_for))
        )


@breaks("COMMIT-18", "ADMIN-5")
class ForgetsOutputs(Commits):
    def changed(self, commit):
        return (
            commit if commit.end is None else replace(commit, end=replace(commit.end, output=None))
        )


@breaks("COMMIT-18", "READ-1")
class CallsEveryEndACompletion(Store):
    def end_execution(self, row, commit):
        super().end_execution(row, commit)
        if row.state.status is not InstanceStatus.RUNNING:
            row.state = replace(row.state, status=InstanceStatus.FAILED)


@breaks("COMMIT-19")
class LosesEventsWhenItContinues(Store):
    def continue_as_new(self, row, commit):
        super().continue_as_new(row, commit)
        self.tables.mailboxes.pop(commit.instance, None)


@breaks("COMMIT-19")
class KeepsAHundredEvents(Store):
    def continue_as_new(self, row, commit):
        super().continue_as_new(row, commit)
        self.remove_messages(
            commit.instance, [x.message.id for x in self.visible(commit.instance)][2:]
        )


@breaks("COMMIT-19", "HIST-4", "MODEL-1")
class GoesOnCounting(Store):
    def continue_as_new(self, row, commit):
        before = row.state.last_event
        super().continue_as_new(row, commit)
        row.state = replace(row.state, last_event=before)


@breaks("COMMIT-19")
class KeepsTheOutputOfTheOldExecution(Store):
    def continue_as_new(self, row, commit):
        super().continue_as_new(row, commit)
        row.state = replace(row.state, output=commit.end.output)


@breaks("COMMIT-20")
class IgnoresUnpin(Commits):
    def changed(self, commit):
        return replace(commit, unpin=False)


@breaks("COMMIT-20")
class UnpinsEveryNewExecution(Commits):
    def changed(self, commit):
        return replace(commit, unpin=True)


@breaks("COMMIT-20")
class IgnoresEngines(Commits):
    def changed(self, commit):
        return replace(commit, engine=None)


@breaks("COMMIT-20")
class IgnoresVersions(Commits):
    def changed(self, commit):
        return replace(commit, version=None)


@breaks("COMMIT-20")
class UnpinsWithEveryCommit(Fields):
    def set_fields(self, row, commit):
        super().set_fields(row, commit)
        row.state = replace(row.state, version=commit.version)


@breaks("COMMIT-20")
class LeavesTheInstanceWithItsOldVersion(Store):
    """A commit that keeps its lease leaves the instance where callers of the old version look."""

    def __init__(self):
        super().__init__()
        self.waits_at = {}

    def set_fields(self, row, commit):
        version = row.state.version
        super().set_fields(row, commit)
        if commit.keep_for is not None and version is not None:
            self.waits_at[commit.instance] = version

    def serves(self, row, request):
        waits_at = self.waits_at.get(row.state.instance)
        versions = request.serves.orchestrations.get(row.state.name, ())
        return super().serves(row, request) and (waits_at is None or waits_at in versions)


@breaks("COMMIT-21", "COMMIT-22")
class KeepsNoLease(Commits):
    def changed(self, commit):
        return replace(commit, keep_for=None)


@breaks("COMMIT-21")
class DoesNotExtendTheLease(Store):
    def settle_lease(self, row, commit):
        until = row.lease.until
        super().settle_lease(row, commit)
        if row.lease is not None:
            row.lease.until = until


@breaks("COMMIT-21", "LEASE-8")
class CountsOnWhenItKeeps(Store):
    def settle_lease(self, row, commit):
        super().settle_lease(row, commit)
        row.attempt += row.lease is not None


@breaks("COMMIT-22", "MAIL-13", "MAIL-14")
class AnswersWithoutMessages(Store):
    def answer(self, row, commit, in_use):
        return replace(super().answer(row, commit, in_use), messages=(), more=False)


@breaks("COMMIT-22")
class AnswersWithWhatIsHeld(Commits):
    def changed(self, commit):
        return replace(commit, held=frozenset())


@breaks("COMMIT-22")
class LeavesOutAsManyAsAreHeld(Store):
    def delivery(self, instance, held=()):
        messages, more = super().delivery(instance)
        return messages[len(held) :], more


@breaks("COMMIT-22")
class MissesWhatCameWhileItWasLeased(Store):
    def answer(self, row, commit, in_use):
        found = super().answer(row, commit, in_use)
        old = tuple(m for m in found.messages if m.id in {e.id for e in commit.send})
        return replace(found, messages=old)


@breaks("COMMIT-23", "LEASE-20")
class HidesWhatIsLeft(Store):
    def let_go(self, row):
        super().let_go(row)
        row.hidden_until = self.now + 1


@breaks("COMMIT-23")
class KeepsEveryLease(Store):
    def settle_lease(self, row, commit):
        super().settle_lease(row, replace(commit, keep_for=commit.keep_for or timedelta(seconds=5)))


@breaks("COMMIT-24", "LEASE-15", "ACT-12")
class KeepsTheMark(Fields):
    def changed(self, before, after):
        return replace(after, parked=before.parked)


@breaks("COMMIT-24")
class ClearsTheMarkOnlyWithARelease(Store):
    def set_fields(self, row, commit):
        parked = row.state.parked
        super().set_fields(row, commit)
        if commit.keep_for is not None:
            row.state = replace(row.state, parked=parked)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
