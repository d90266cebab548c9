"""Providers that release turns wrongly."""

from dataclasses import replace
from datetime import timedelta

from perdure.contract import MessageKind
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import Store


class Releases(Store):
    def changed(self, release):
        return release

    def release_turn(self, release):
        super().release_turn(self.changed(release))


@breaks("LEASE-13")
class HidesWhatWasReleased(Releases):
    def changed(self, release):
        return replace(release, delay=release.delay or timedelta(seconds=1))


@breaks("LEASE-13")
class CountsEveryRelease(Releases):
    def changed(self, release):
        return replace(release, counted=True)


@breaks("LEASE-13", "LEASE-8")
class CountsNoRelease(Releases):
    def changed(self, release):
        return replace(release, counted=False)


@breaks("LEASE-14", "LEASE-17")
class IgnoresDelays(Releases):
    def changed(self, release):
        return replace(release, delay=timedelta(0))


@breaks("LEASE-14")
class HidesOnlyTheOldMessages(Store):
    def put(self, message):
        super().put(message)
        row = self.tables.instances.get(message.instance)
        if row is not None:
            row.hidden_until = None


@breaks("LEASE-15")
class ForgetsTheFirstMark(Store):
    def park(self, row, mark):
        row.state = replace(row.state, parked=None)
        super().park(row, mark)


@breaks("LEASE-15", "ACT-12")
class KeepsTheFirstMarkOfAnyReason(Store):
    def park(self, row, mark):
        before = row.state.parked
        super().park(row, mark)
        if before is not None:
            row.state = replace(row.state, parked=replace(row.state.parked, since=before.since))


@breaks("LEASE-15")
class KeepsTheFirstReason(Store):
    def park(self, row, mark):
        if row.state.parked is None:
            super().park(row, mark)


@breaks("LEASE-15")
class ClearsTheMarkWithARelease(Releases):
    def release_turn(self, release):
        row = self.holder(release.lease)
        if row is not None and release.parked is None:
            row.state = replace(row.state, parked=None)
        super().release_turn(release)


@breaks("LEASE-15")
class HasNoMarks(Store):
    def park(self, row, mark):
        pass


class ReleasesLiveLeases(Store):
    def release_turn(self, release):
        row = self.holder(release.lease)
        if row is None or self.is_live(row.lease):
            super().release_turn(release)
        else:
            self.release_late(row, release)

    def release_late(self, row, release):
        pass


@breaks("LEASE-16")
class IgnoresLateReleases(ReleasesLiveLeases):
    pass


@breaks("LEASE-16")
class CountsLateReleases(ReleasesLiveLeases):
    def release_late(self, row, release):
        super(ReleasesLiveLeases, self).release_turn(replace(release, counted=True))


@breaks("LEASE-16")
class ForgetsTheDelayOfLateReleases(ReleasesLiveLeases):
    def release_late(self, row, release):
        super(ReleasesLiveLeases, self).release_turn(replace(release, delay=timedelta(0)))


@breaks("LEASE-16")
class ForgetsTheMarkOfLateReleases(ReleasesLiveLeases):
    def release_late(self, row, release):
        super(ReleasesLiveLeases, self).release_turn(replace(release, parked=None))


@breaks("LEASE-16")
class ReleasesByInstance(Store):
    def release_turn(self, release):
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and row.lease is not None:
            super().release_turn(
                replace(release, lease=replace(release.lease, token=row.lease.token))
            )


@breaks("LEASE-16")
class ParksForAnyCaller(Store):
    def release_turn(self, release):
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and release.parked is not None:
            self.park(row, release.parked)
        super().release_turn(release)


@breaks("LEASE-21", "ACT-23")
class AccountsForNothing(Store):
    def is_accounted(self, row, token, counted):
        return False


@breaks("LEASE-21", "ACT-23")
class AccountsAgainAndAgain(Store):
    def is_accounted(self, row, token, counted):
        return not counted and row.taken_from == token


@breaks("LEASE-21", "ACT-23")
class AccountsForCountedReleases(Store):
    def is_accounted(self, row, token, counted):
        return super().is_accounted(row, token, counted=False)


@breaks("LEASE-21", "ACT-23")
class AccountsForAnyCaller(Store):
    def is_accounted(self, row, token, counted):
        return super().is_accounted(row, row.taken_from or token, counted)


@breaks("LEASE-21", "ACT-23")
class RemembersTheFirstTakeover(Store):
    def note_takeover(self, row):
        if row.taken_from is None:
            super().note_takeover(row)


@breaks("LEASE-21")
class AccountsAfterACommit(Store):
    def settle_lease(self, row, commit):
        taken_from = row.taken_from
        super().settle_lease(row, commit)
        row.taken_from = taken_from


@breaks("LEASE-21", "LEASE-16")
class GivesBackWhatWasTakenOver(Store):
    def account_for_turn(self, release):
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and row.taken_from == release.lease.token and row.lease is not None:
            self.release_turn(replace(release, lease=replace(release.lease, token=row.lease.token)))


@breaks("LEASE-22")
class KeepsTheDelayOfACancelledInstance(Store):
    def end_delay(self, instance):
        pass


@breaks("LEASE-22", "LEASE-14")
class EndsTheDelayForAnyMessage(Store):
    def put(self, message):
        super().put(message)
        self.end_delay(message.instance)


@breaks("LEASE-22")
class KeepsTheDelayWhereTheCancellationIsHeld(Store):
    def put(self, message):
        if message.id not in self.tables.mailboxes.get(message.instance, {}):
            super().put(message)


@breaks("LEASE-22")
class EndsTheDelayForACancellationThatIsDueLater(Store):
    def put(self, message):
        super().put(message)
        if message.kind is MessageKind.CANCEL:
            self.end_delay(message.instance)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
