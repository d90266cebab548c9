"""Providers that take texts for one another, or change them: each kind of text, folded in each way."""

import re
import unicodedata
from dataclasses import replace
from urllib.parse import unquote, unquote_plus

import pytest
from perdure.errors import ActivityLeaseLost, InstanceAlreadyExists, LeaseLost
from perdure_conformance.broken_providers import Broken, StoreBackend, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import Store


def without_zeros(text):
    return str(int(text)) if re.fullmatch(r"[0-9]+", text) else text


def without_escapes(text):
    return re.sub(r"\\(.)", r"\1", text)


FOLDS = {
    "case": str.casefold,
    "trailing blanks": str.rstrip,
    "leading blanks": str.lstrip,
    "percent escapes": unquote,
    "plus signs": unquote_plus,
    "composition": lambda text: unicodedata.normalize("NFC", text),
    "width": lambda text: unicodedata.normalize("NFKC", text),
    "numbers": without_zeros,
    "backslashes": without_escapes,
    "punctuation": lambda text: re.sub(r"\W", "_", text, flags=re.ASCII),
    "all behind 100 characters": lambda text: text[:100],
    "all behind 255 characters": lambda text: text[:255],
    "all behind 511 bytes": lambda text: text.encode()[:511].decode(errors="ignore"),
}


class Folded(dict):
    """A dictionary that takes keys for one another."""

    def __init__(self, fold):
        super().__init__()
        self.fold = fold

    def __setitem__(self, key, value):
        super().__setitem__(self.fold(key), value)

    def __getitem__(self, key):
        return super().__getitem__(self.fold(key))

    def __contains__(self, key):
        return super().__contains__(self.fold(key))

    def get(self, key, default=None):
        return super().get(self.fold(key), default)

    def pop(self, key, default=None):
        return super().pop(self.fold(key), default)

    def setdefault(self, key, default=None):
        return super().setdefault(self.fold(key), default)


class Folds(Store):
    def __init__(self, fold):
        super().__init__()
        self.fold = fold


class InstanceIds(Folds):
    def __init__(self, fold):
        super().__init__(fold)
        self.tables.instances = Folded(fold)


class MessageIds(Folds):
    def __init__(self, fold):
        super().__init__(fold)
        self.tables.mailboxes = Mailboxes(fold)


class Mailboxes(dict):
    def __init__(self, fold):
        super().__init__()
        self.fold = fold

    def setdefault(self, key, default):
        return super().setdefault(key, Folded(self.fold))


class HeldMessageIds(Folds):
    def delivery(self, instance, held=()):
        ids = set(map(self.fold, held))
        box = self.tables.mailboxes.get(instance, {})
        return super().delivery(instance, {each for each in box if self.fold(each) in ids})


class RemovedMessageIds(Folds):
    def remove_messages(self, instance, ids):
        folded = set(map(self.fold, ids))
        box = self.tables.mailboxes.get(instance, {})
        super().remove_messages(instance, [each for each in box if self.fold(each) in folded])


class ActivityIds(Folds):
    def __init__(self, fold):
        super().__init__(fold)
        self.tables.activities = Folded(lambda key: (key[0], fold(key[1])))


class CommitIds(Folds):
    def is_repeat(self, row, commit):
        last = row.state.last_commit
        return last is not None and self.fold(last) == self.fold(commit.id)


class StoredCommitIds(Folds):
    def set_fields(self, row, commit):
        super().set_fields(row, replace(commit, id=self.fold(commit.id)))


class TurnTokensOfLooks(Folds):
    def is_held(self, lease, token):
        return (
            lease is not None and self.fold(lease.token) == self.fold(token) and self.is_live(lease)
        )


class TurnTokensOfRenewals(Folds):
    def holder(self, lease):
        row = self.tables.instances.get(lease.instance)
        held = row is not None and row.lease is not None
        return row if held and self.fold(row.lease.token) == self.fold(lease.token) else None


class TurnTokensOfCommits(Folds):
    def require_lease(self, row, commit):
        if (
            row is None
            or row.lease is None
            or self.fold(row.lease.token) != self.fold(commit.token)
        ):
            raise LeaseLost(commit.instance, operation="commit_turn")
        return row


class ActivityTokens(Folds):
    def leased_row(self, lease):
        row = self.tables.activities.get((lease.instance, lease.activity))
        held = row is not None and row.lease is not None and self.is_wanted(row)
        return row if held and self.fold(row.lease.token) == self.fold(lease.token) else None


class ActivityTokensOfCommits(ActivityTokens):
    def leased_row(self, lease):
        return Store.leased_row(self, lease)

    def require_activities(self, commit):
        lost = [
            each.activity for each in commit.finish if ActivityTokens.leased_row(self, each) is None
        ]
        if lost:
            raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")


class Incarnations(Folds):
    def row_of(self, instance, incarnation):
        row = self.tables.instances.get(instance)
        same = row is not None and self.fold(row.state.incarnation) == self.fold(incarnation)
        return row if same else None


class IncarnationsOfMessages(Folds):
    def is_void(self, message):
        row = self.tables.instances.get(message.instance)
        own = row and row.state.incarnation
        if own and message.incarnation and self.fold(own) == self.fold(message.incarnation):
            message = replace(message, incarnation=own)
        return super().is_void(message)


class IncarnationsOfCreations(Folds):
    def create_instance(self, new):
        row = self.tables.instances.get(new.instance)
        if row is not None and self.fold(row.state.incarnation) != self.fold(new.incarnation):
            raise InstanceAlreadyExists(new.instance)
        if row is None:
            self.add_instance(new)


class Names(Folds):
    def serves(self, row, request):
        folded = {}
        for name, versions in request.serves.orchestrations.items():
            folded.setdefault(self.fold(name), set()).update(versions)
        version = row.state.version
        served = folded.get(self.fold(row.state.name))
        return served is not None and (version is None or version in served)


class Versions(Folds):
    def serves(self, row, request):
        versions = request.serves.orchestrations.get(row.state.name)
        return versions is not None and (
            row.state.version is None
            or self.fold(row.state.version) in set(map(self.fold, versions))
        )


class ActivityNames(Folds):
    def matches(self, row, request):
        names = set(map(self.fold, request.names))
        return self.fold(row.new.name) in names and row.new.tag in request.tags


class Tags(Folds):
    def matches(self, row, request):
        tags = {tag and self.fold(tag) for tag in request.tags}
        return row.new.name in request.names and (row.new.tag and self.fold(row.new.tag)) in tags


class Parents(Folds):
    def add_instance(self, new):
        parent = new.parent and replace(new.parent, instance=self.fold(new.parent.instance))
        super().add_instance(replace(new, parent=parent))


class IncarnationsOfParents(Folds):
    def add_instance(self, new):
        parent = new.parent and replace(new.parent, incarnation=self.fold(new.parent.incarnation))
        super().add_instance(replace(new, parent=parent))


class Details(Folds):
    def park(self, row, mark):
        super().park(row, replace(mark, details=self.fold(mark.details)))


KINDS = (
    InstanceIds,
    MessageIds,
    HeldMessageIds,
    RemovedMessageIds,
    ActivityIds,
    CommitIds,
    StoredCommitIds,
    TurnTokensOfLooks,
    TurnTokensOfRenewals,
    TurnTokensOfCommits,
    ActivityTokens,
    ActivityTokensOfCommits,
    Incarnations,
    IncarnationsOfMessages,
    IncarnationsOfCreations,
    Names,
    Versions,
    ActivityNames,
    Tags,
    Parents,
    IncarnationsOfParents,
)


def complaint(clause, backend):
    (check,) = (check for check in CLAUSES if check.id == clause)
    broken = Broken(name="folds", clauses=(clause,), make=lambda: backend)
    return what_catches(broken, check)


USUAL_FOLDS = ("case", "trailing blanks", "composition", "all behind 255 characters")


@pytest.mark.parametrize("fold", USUAL_FOLDS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_text_that_is_folded_is_caught(kind, fold):
    backend = StoreBackend(store=lambda: kind(FOLDS[fold]))

    assert complaint("CALL-6", backend) is not None


@pytest.mark.parametrize("fold", sorted(FOLDS.keys() - set(USUAL_FOLDS)))
def test_each_way_to_fold_a_text_is_caught(fold):
    backend = StoreBackend(store=lambda: MessageIds(FOLDS[fold]))

    assert complaint("CALL-6", backend) is not None


@pytest.mark.parametrize("fold", ["case", "trailing blanks", "composition"])
def test_the_details_of_a_mark_that_are_folded_are_caught(fold):
    assert complaint("CALL-6", StoreBackend(store=lambda: Details(FOLDS[fold]))) is not None


class FoldsNamespaces(StoreBackend):
    def __init__(self, fold):
        super().__init__()
        self.fold = fold

    def key(self, namespace):
        return self.fold(namespace)


NAMESPACE_FOLDS = sorted(FOLDS.keys() - {"width", "numbers", "backslashes", "all behind 511 bytes"})


@pytest.mark.parametrize("fold", NAMESPACE_FOLDS)
def test_a_namespace_that_is_folded_is_caught(fold):
    assert complaint("CALL-3", FoldsNamespaces(FOLDS[fold])) is not None
