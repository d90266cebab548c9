"""Providers that share records with their callers, namespaces with each other, or change payloads."""

import json
from dataclasses import fields, is_dataclass, replace

import pytest
from perdure.contract import NewChild
from perdure_conformance.broken_providers import Broken, StoreBackend, breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model.listing import ModelAdmin


def complaint(clause, backend):
    (check,) = (check for check in CLAUSES if check.id == clause)
    broken = Broken(name="broken", clauses=(clause,), make=lambda: backend)
    return what_catches(broken, check)


# Records that stay live


def assign(old, new):
    """Make an answer that was given before what the newer one is."""
    if isinstance(old, list):
        old[:] = new
    elif isinstance(old, dict):
        old.clear()
        old.update(new)
    elif is_dataclass(old):
        for each in fields(old):
            object.__setattr__(old, each.name, getattr(new, each.name))


class LiveAdmin(ModelAdmin):
    """Answers of one method follow what is stored."""

    live = ""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        return self.provider.following(name, found) if name == type(self).live else found


class StaysLive(ModelProvider):
    """Answers of one method follow what is stored, at each commit."""

    live = ""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.given = []

    def following(self, name, method):
        async def called(*arguments, **named):
            answer = await method(*arguments, **named)
            if isinstance(answer, tuple):
                answer = list(answer)
            self.given.append((answer, lambda: method(*arguments, **named)))
            return answer

        return called

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        return self.following(name, found) if name == type(self).live else found

    async def commit_turn(self, commit):
        answer = await super().commit_turn(commit)
        for old, again in self.given:
            assign(old, await again())
        return answer

    def as_management_capability(self):
        admin = type("Admin", (LiveAdmin,), {"live": type(self).live})(self.at_present)
        admin.provider = self
        return admin


@pytest.mark.parametrize(
    "method",
    [
        "read_instance",
        "read_history",
        "read_values",
        "list_instances",
        "list_executions",
        "list_execution_numbers",
        "read_execution",
        "read_events",
        "count_instances",
        "count_queues",
        "find_instances",
        "read_work",
    ],
)
def test_an_answer_that_stays_live_is_caught(method):
    provider = type("Live", (StaysLive,), {"live": method})

    assert complaint("CALL-2", StoreBackend(provider=provider)) is not None


@breaks("CALL-2")
class AnswersCommitsWithLiveMessages(ModelProvider):
    answers = ()

    async def commit_turn(self, commit):
        answer = await super().commit_turn(commit)
        answer = replace(answer, messages=list(answer.messages))
        self.answers = (*self.answers, answer)
        return answer

    async def send(self, messages):
        await super().send(messages)
        for answer in self.answers:
            answer.messages.extend(messages)


@breaks("CALL-2")
class KeepsTheCallersLabels(Store):
    def add_instance(self, new):
        super().add_instance(new)
        row = self.tables.instances[new.instance]
        row.state = replace(row.state, labels=new.labels)


@breaks("CALL-2")
class KeepsTheCallersValues(Store):
    def set_values(self, commit):
        super().set_values(commit)
        if commit.values:
            self.tables.values[commit.instance] = commit.values


# Namespaces


class Namespaces(StoreBackend):
    """Its provider objects know their namespace, and the stores of all others."""

    def __init__(self, provider):
        super().__init__(provider=lambda store, **named: provider(store, self._stores, **named))


class KnowsOthers(ModelProvider):
    def __init__(self, store, stores, **named):
        super().__init__(store, **named)
        self.stores = stores

    @property
    def namespace(self):
        return next(name for name, store in self.stores.items() if store is self._store)


class JoinsNamespaceAndId(KnowsOthers):
    separator = ""

    async def read_instance(self, instance):
        wanted = f"{self.namespace}{self.separator}{instance}"
        for name, store in self.stores.items():
            for each, row in store.tables.instances.items():
                if f"{name}{self.separator}{each}" == wanted:
                    return row.state
        return None


@pytest.mark.parametrize("separator", list("/#:|.-"))
def test_a_namespace_that_is_joined_to_an_id_is_caught(separator):
    provider = type("Joins", (JoinsNamespaceAndId,), {"separator": separator})

    assert complaint("CALL-3", Namespaces(provider)) is not None


class CountsAll(KnowsOthers):
    def as_management_capability(self):
        return AdminOfAll(self)


class AdminOfAll(ModelAdmin):
    def __init__(self, provider):
        super().__init__(provider.at_present)
        self.provider = provider

    async def count_instances(self):
        others = [ModelAdmin(lambda s=store: s) for store in self.provider.stores.values()]
        counts = [await ModelAdmin.count_instances(each) for each in others]
        first, *rest = counts
        return replace(
            first, total_events=first.total_events + sum(each.total_events for each in rest)
        )


class ListsByThePrefix(KnowsOthers):
    def as_management_capability(self):
        provider = self

        class Admin(ModelAdmin):
            async def list_instances(self, **named):
                page = await super().list_instances(**named)
                more = [
                    each
                    for name, store in provider.stores.items()
                    if name.startswith(provider.namespace) and name != provider.namespace
                    for each in store.tables.instances
                ]
                return replace(page, ids=(*page.ids, *more))

        return Admin(self.at_present)


class RenewsInOtherNamespaces(KnowsOthers):
    async def renew_activities(self, leases, *, lease_for):
        gone = await super().renew_activities(leases, lease_for=lease_for)
        for store in self.stores.values():
            store.now = self.clock.now()
            gone &= store.renew_activities(leases, lease_for)
        return gone


class FindsActivitiesOfOtherNamespaces(KnowsOthers):
    async def lease_activities(self, request):
        found = []
        for store in self.stores.values():
            store.now = self.clock.now()
            found += store.lease_activities(request)
        return found


@pytest.mark.parametrize(
    "provider",
    [CountsAll, ListsByThePrefix, RenewsInOtherNamespaces, FindsActivitiesOfOtherNamespaces],
)
def test_a_look_into_other_namespaces_is_caught(provider):
    assert complaint("CALL-3", Namespaces(provider)) is not None


# Payloads


def as_json(data):
    try:
        return json.dumps(json.loads(data)).encode()
    except ValueError:
        return data


SPOILS = {
    "strips zeros": lambda data: data.rstrip(b"\0"),
    "strips blanks": bytes.strip,
    "decodes": lambda data: data.decode(errors="replace").encode(),
    "formats": as_json,
    "translates line ends": lambda data: data.replace(b"\r\n", b"\n"),
    "cuts": lambda data: data[:400_000],
    "gives a view": memoryview,
    "gives an array": bytearray,
    "has something in place of nothing": lambda data: data or b"null",
}


class Spoils(ModelProvider):
    """Changes the payload of one place."""

    place = ""
    spoil = staticmethod(bytes)

    def spoiled(self, message):
        return message and replace(message, data=self.spoil(message.data))

    async def complete_activity(self, completion):
        if self.place == "completion":
            completion = replace(completion, message=self.spoiled(completion.message))
        await super().complete_activity(completion)

    async def create_instance(self, new):
        if self.place == "start":
            new = replace(new, start=self.spoiled(new.start))
        await super().create_instance(new)

    async def commit_turn(self, commit):
        return await super().commit_turn(getattr(self, f"in_{self.place}", lambda c: c)(commit))

    def in_output(self, commit):
        end = commit.end and replace(commit.end, output=self.spoil(commit.end.output))
        return replace(commit, end=end)

    def in_front(self, commit):
        return replace(commit, front=tuple(map(self.spoiled, commit.front)))

    def in_sent(self, commit):
        return replace(commit, send=tuple(map(self.spoiled, commit.send)))

    def in_event(self, commit):
        return replace(commit, events=tuple(map(self.spoil, commit.events)))

    def in_input(self, commit):
        add = tuple(replace(new, data=self.spoil(new.data)) for new in commit.add)
        return replace(commit, add=add)

    def in_child(self, commit):
        return replace(commit, create=tuple(map(self.child, commit.create)))

    def child(self, child):
        start = self.spoiled(child.instance.start)
        return NewChild(instance=replace(child.instance, start=start), if_exists=child.if_exists)

    def in_notice(self, commit):
        create = (replace(c, if_exists=self.spoiled(c.if_exists)) for c in commit.create)
        return replace(commit, create=tuple(create))


PLACES = ("start", "completion", "output", "front", "sent", "event", "input", "child", "notice")


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("place", PLACES)
def test_a_payload_that_is_changed_is_caught(place, spoil):
    spoiled = {"place": place, "spoil": staticmethod(SPOILS[spoil])}
    provider = type("SpoilsOnePlace", (Spoils,), spoiled)

    assert complaint("CALL-7", StoreBackend(provider=provider)) is not None


@breaks("CALL-7")
class ForgetsEmptyOutputs(Store):
    def end_execution(self, row, commit):
        end = commit.end and replace(commit.end, output=commit.end.output or None)
        super().end_execution(row, replace(commit, end=end))


@breaks("CALL-7")
class ForgetsOutputsOfEarlierExecutions(Store):
    def begin_execution(self, instance, number):
        for row in self.tables.executions.get(instance, ()):
            row.state = replace(row.state, output=None)
        super().begin_execution(instance, number)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
