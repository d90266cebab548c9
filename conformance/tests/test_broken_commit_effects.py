"""Providers whose commits carry out other effects on messages, activities and children."""

from dataclasses import replace

from perdure.contract import MessageKind
from perdure.errors import (
    InstanceAlreadyExists,
    ProviderError,
)
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import Store


class Commits(Store):
    """Carries out another commit than the one it was given."""

    def changed(self, commit):
        return commit

    def carry_out(self, row, commit):
        return super().carry_out(row, self.changed(commit))


@breaks("COMMIT-9")
class RemovesOnlyWhatIsVisible(Commits):
    def changed(self, commit):
        visible = {entry.message.id for entry in self.visible(commit.instance)}
        return replace(commit, remove=tuple(visible & set(commit.remove)))


@breaks("COMMIT-9")
class RemovesOnlyWhatWasDelivered(Commits):
    def give_turn(self, row, request):
        turn = super().give_turn(row, request)
        self.delivered = {message.id for message in turn.messages}
        return turn

    def changed(self, commit):
        return replace(commit, remove=tuple(set(commit.remove) & self.delivered))


@breaks("COMMIT-9", "COMMIT-23")
class RemovesTheWholeMailbox(Commits):
    def changed(self, commit):
        return replace(commit, remove=tuple(self.tables.mailboxes.get(commit.instance, {})))


@breaks("COMMIT-9")
class RefusesToRemoveTheUnknown(Store):
    def remove_messages(self, instance, ids):
        for message in ids:
            if message not in self.tables.mailboxes.get(instance, {}):
                raise ProviderError("the message is unknown", operation="commit_turn")
        super().remove_messages(instance, ids)


@breaks("COMMIT-10", "COMMIT-12")
class LosesAddedActivitiesWhenItCancels(Commits):
    def changed(self, commit):
        return replace(commit, add=()) if commit.cancel else commit


@breaks("COMMIT-10", "ACT-1", "ACT-3")
class ForgetsTags(Commits):
    def changed(self, commit):
        return replace(commit, add=tuple(replace(new, tag=None) for new in commit.add))


@breaks("COMMIT-10", "CALL-7")
class ForgetsInputs(Commits):
    def changed(self, commit):
        return replace(commit, add=tuple(replace(new, data=b"") for new in commit.add))


@breaks("COMMIT-11")
class AddsEverythingUnleased(Commits):
    def changed(self, commit):
        return replace(commit, add=tuple(replace(new, lease=False) for new in commit.add))


@breaks("COMMIT-11")
class CountsNoDeliveryOfAddedLeases(Store):
    def add_activities(self, commit):
        super().add_activities(commit)
        for new in commit.add:
            row = self.tables.activities.get((commit.instance, new.id))
            if row is not None:
                row.delivery = 0


@breaks("COMMIT-11")
class LeasesAddedActivitiesAsLongAsTheTurn(Commits):
    def changed(self, commit):
        return replace(commit, activity_lease_for=commit.activity_lease_for and commit.keep_for)


@breaks("COMMIT-11")
class DoesNotTellTheEndOfAddedLeases(Store):
    def answer(self, row, commit, in_use):
        return replace(super().answer(row, commit, in_use), activities_until=None)


@breaks("COMMIT-12", "ACT-10")
class CancelsOnlyWhatWaits(Store):
    def remove_activities(self, instance, ids):
        keep = [
            i
            for i in ids
            if (r := self.tables.activities.get((instance, i))) and self.is_live(r.lease)
        ]
        finished = getattr(self, "finishing", ())
        super().remove_activities(instance, [i for i in ids if i not in keep or i in finished])

    def carry_out(self, row, commit):
        self.finishing = [lease.activity for lease in commit.finish]
        return super().carry_out(row, commit)


@breaks("COMMIT-12")
class AddsWhatItCancels(Store):
    def add_activities(self, commit):
        super().add_activities(replace(commit, cancel=()))


@breaks("COMMIT-12", "ACT-21")
class CancelsInEveryInstance(Store):
    def remove_activities(self, instance, ids):
        for key in [key for key in self.tables.activities if key[1] in ids]:
            del self.tables.activities[key]


@breaks("COMMIT-13")
class OnlyReleasesWhatItFinishes(Commits):
    def changed(self, commit):
        for lease in commit.finish:
            self.tables.activities[lease.instance, lease.activity].lease = None
        return replace(commit, finish=())


@breaks("COMMIT-13")
class FinishesOneOnly(Commits):
    def changed(self, commit):
        return replace(commit, finish=commit.finish[:1])


@breaks("COMMIT-14", "COMMIT-8")
class DropsASecondInstancesMessage(Commits):
    def changed(self, commit):
        own = tuple(m for m in commit.send if m.instance == commit.instance)
        return replace(commit, send=own)


@breaks("COMMIT-14")
class SendsBeforeItRemoves(Store):
    def remove_messages(self, instance, ids):
        for message in self.__dict__.pop("sending", ()):
            self.put(message)
        super().remove_messages(instance, ids)

    def carry_out(self, row, commit):
        self.sending = commit.send
        return super().carry_out(row, replace(commit, send=()))


@breaks("COMMIT-14", "COMMIT-22")
class SendsNothingToItself(Commits):
    def changed(self, commit):
        return replace(commit, send=tuple(m for m in commit.send if m.instance != commit.instance))


@breaks("COMMIT-14")
class SendsEverythingNow(Commits):
    def changed(self, commit):
        return replace(commit, send=tuple(replace(m, visible_at=None) for m in commit.send))


@breaks("COMMIT-15")
class PutsCarriedMessagesBehind(Store):
    def put_front(self, messages):
        for message in messages:
            self.put(message)


@breaks("COMMIT-15")
class ReversesTheFront(Store):
    def put_front(self, messages):
        super().put_front(messages[::-1])


@breaks("COMMIT-15")
class PutsALaterFrontBehindAnEarlier(Store):
    def put_front(self, messages):
        super().put_front(messages)
        for message in messages:
            entry = self.tables.mailboxes[message.instance].get(message.id)
            if entry is not None:
                entry.front = (-entry.front[0], entry.front[1])


@breaks("COMMIT-15")
class LeavesHeldMessagesWhereTheyAre(Store):
    def put_front(self, messages):
        super().put_front(
            [m for m in messages if m.id not in self.tables.mailboxes.get(m.instance, {})]
        )


@breaks("COMMIT-15")
class PutsTheFrontAheadOfTheStart(Store):
    def order(self, entry):
        if entry.message.kind is MessageKind.START:
            return (1, 0, 0) if entry.front is None else (1, *entry.front)
        return super().order(entry)


@breaks("COMMIT-16", "COMMIT-25")
class CreatesChildrenWithoutAStart(Store):
    def create_child(self, child):
        if child.instance.instance in self.tables.instances:
            return super().create_child(child)
        super().create_child(child)
        self.remove_messages(child.instance.instance, ["start"])
        return True


@breaks("COMMIT-16", "COMMIT-17")
class CreatesTheFirstChildOnly(Commits):
    def changed(self, commit):
        return replace(commit, create=commit.create[:1])


@breaks("COMMIT-17", "COMMIT-8")
class RefusesTheCommitWhereAnIdIsInUse(Store):
    def require_activities(self, commit):
        super().require_activities(commit)
        for child in commit.create:
            row = self.tables.instances.get(child.instance.instance)
            if row is not None and row.state.incarnation != child.instance.incarnation:
                raise InstanceAlreadyExists(child.instance.instance)


@breaks("COMMIT-17")
class OverwritesChildren(Store):
    def create_child(self, child):
        self.tables.instances.pop(child.instance.instance, None)
        return super().create_child(child)


@breaks("COMMIT-17")
class HidesThatAnIdIsInUse(Store):
    def create_child(self, child):
        return super().create_child(replace(child, if_exists=None))


@breaks("COMMIT-17")
class AnswersThatNothingIsInUse(Store):
    def create_children(self, commit):
        super().create_children(commit)
        return frozenset()


@breaks("COMMIT-17")
class TellsThatAnIdIsInUseWhereItIsNot(Store):
    def create_child(self, child):
        if child.if_exists is not None and child.instance.instance in self.tables.instances:
            self.put(child.if_exists)
        return super().create_child(child)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
