"""Providers that break what users are promised: the scenarios that they break must fail."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.contract import CommitAnswer, InstanceStatus, MessageKind
from perdure.errors import ActivityLeaseLost, InstanceAlreadyExists, LeaseLost
from perdure_conformance.broken_providers import breaks_promises
from perdure_conformance.model import ModelProvider, Store


def provider_with(**methods):
    return type("Spoiled", (ModelProvider,), methods)


@breaks_promises("52")
def refuses_what_comes_after_the_end_of_a_lease(patch):
    def stands(self, lease, token):
        return lease is not None and lease.token == token and self.is_live(lease)

    patch.setattr(Store, "stands", stands)


@breaks_promises("1", "7", "11a")
def loses_events_to_ids_that_do_not_exist(patch):
    async def send(self, messages):
        known = [m for m in messages if await self.read_instance(m.instance) is not None]
        await ModelProvider.send(self, known)

    return provider_with(send=send)


@breaks_promises("5", "5a", "42b")
def a_second_start_is_passed_over(patch):
    async def create_instance(self, new):
        try:
            await ModelProvider.create_instance(self, new)
        except InstanceAlreadyExists:
            return

    return provider_with(create_instance=create_instance)


@breaks_promises("42", "42a")
def gives_every_message_an_id_of_its_own(patch):
    count = iter(range(10**6))

    async def send(self, messages):
        again = [replace(message, id=f"{message.id}-{next(count)}") for message in messages]
        await ModelProvider.send(self, again)

    return provider_with(send=send)


@breaks_promises("19")
def leases_last_minutes_longer(patch):
    def prolonged(request):
        return replace(request, lease_for=request.lease_for + timedelta(minutes=2))

    async def lease_turns(self, request):
        return await ModelProvider.lease_turns(self, prolonged(request))

    async def lease_activities(self, request):
        return await ModelProvider.lease_activities(self, prolonged(request))

    return provider_with(lease_turns=lease_turns, lease_activities=lease_activities)


@breaks_promises("20")
def results_without_a_lease_are_accepted(patch):
    async def complete_activity(self, completion):
        try:
            await ModelProvider.complete_activity(self, completion)
        except ActivityLeaseLost:
            await self.send([completion.message])

    return provider_with(complete_activity=complete_activity)


@breaks_promises("20a")
def finished_activities_are_no_precondition(patch):
    async def commit_turn(self, commit):
        try:
            return await ModelProvider.commit_turn(self, commit)
        except ActivityLeaseLost:
            return await ModelProvider.commit_turn(self, replace(commit, finish=()))

    return provider_with(commit_turn=commit_turn)


@breaks_promises("18")
def a_refused_commit_is_not_told(patch):
    async def commit_turn(self, commit):
        try:
            return await ModelProvider.commit_turn(self, commit)
        except LeaseLost:
            return CommitAnswer()

    return provider_with(commit_turn=commit_turn)


@breaks_promises("42c", "46")
def a_repeated_commit_is_not_recognised(patch):
    async def commit_turn(self, commit):
        row = await self.read_instance(commit.instance)
        if row is not None and row.last_commit == commit.id and not row.output:
            commit = replace(commit, id=commit.id + "again", expected_event=row.last_event)
        return await ModelProvider.commit_turn(self, commit)

    return provider_with(commit_turn=commit_turn)


@breaks_promises("40", "40b")
def gives_nothing_back(patch):
    async def release(self, release):
        return

    return provider_with(release_turn=release, release_activity=release)


@breaks_promises("28", "28a", "28b", "28c", "16")
def never_tells_of_unregistered_work(patch):
    async def lease_turns(self, request):
        served = replace(request, unregistered_for=None)
        return await ModelProvider.lease_turns(self, served)

    async def lease_activities(self, request):
        served = replace(request, unregistered_for=None)
        return await ModelProvider.lease_activities(self, served)

    return provider_with(lease_turns=lease_turns, lease_activities=lease_activities)


@breaks_promises("46")
def does_not_know_a_token_again(patch):
    numbers = itertools.count()

    async def lease_turns(self, request):
        token = f"{request.token}-{next(numbers)}"
        return await ModelProvider.lease_turns(self, replace(request, token=token))

    return provider_with(lease_turns=lease_turns)


@breaks_promises("46")
def does_not_know_the_token_of_activities_again(patch):
    numbers = itertools.count()

    async def lease_activities(self, request):
        token = f"{request.token}-{next(numbers)}"
        return await ModelProvider.lease_activities(self, replace(request, token=token))

    return provider_with(lease_activities=lease_activities)


@breaks_promises("29")
def leases_what_a_newer_engine_wrote(patch):
    async def lease_turns(self, request):
        newer = replace(request, serves=replace(request.serves, engine=1000))
        return await ModelProvider.lease_turns(self, newer)

    return provider_with(lease_turns=lease_turns)


@breaks_promises("29")
def ends_what_a_newer_engine_wrote_as_unregistered(patch):
    async def lease_turns(self, request):
        newer = replace(request, serves=replace(request.serves, engine=1000))
        turns = await ModelProvider.lease_turns(self, newer)
        needed = request.serves.engine
        return [replace(turn, served=turn.state.engine <= needed) for turn in turns]

    return provider_with(lease_turns=lease_turns)


@breaks_promises("15")
def a_child_takes_an_id_in_use(patch):
    async def commit_turn(self, commit):
        children = [replace(child, if_exists=None) for child in commit.create]
        return await ModelProvider.commit_turn(self, replace(commit, create=tuple(children)))

    return provider_with(commit_turn=commit_turn)


@breaks_promises("12")
def forgets_what_a_continuation_creates(patch):
    async def commit_turn(self, commit):
        ends = commit.end is not None and commit.end.status is InstanceStatus.CONTINUED_AS_NEW
        kept = replace(commit, create=()) if ends else commit
        return await ModelProvider.commit_turn(self, kept)

    return provider_with(commit_turn=commit_turn)


@breaks_promises("22", "34b", "37b")
def loses_timers(patch):
    async def commit_turn(self, commit):
        kept = tuple(m for m in commit.send if m.kind is not MessageKind.TIMER)
        return await ModelProvider.commit_turn(self, replace(commit, send=kept))

    return provider_with(commit_turn=commit_turn)


@breaks_promises("26", "3", "11")
def delivers_events_backwards(patch):
    async def lease_turns(self, request):
        def backwards(turn):
            start = [m for m in turn.messages if m.kind is MessageKind.START]
            others = [m for m in turn.messages if m.kind is not MessageKind.START]
            return replace(turn, messages=(*start, *reversed(others)))

        return [backwards(turn) for turn in await ModelProvider.lease_turns(self, request)]

    return provider_with(lease_turns=lease_turns)


@breaks_promises("14", "9a", "16")
def loses_what_children_tell(patch):
    async def commit_turn(self, commit):
        kept = tuple(m for m in commit.send if m.kind is not MessageKind.CHILD)
        return await ModelProvider.commit_turn(self, replace(commit, send=kept))

    return provider_with(commit_turn=commit_turn)


@breaks_promises("39")
def ids_do_not_depend_on_case(patch):
    async def create_instance(self, new):
        if new.instance != new.instance.lower():
            raise InstanceAlreadyExists(new.instance)
        await ModelProvider.create_instance(self, new)

    return provider_with(create_instance=create_instance)


@breaks_promises("38")
def stores_less_than_a_megabyte(patch):
    async def create_instance(self, new):
        if len(new.start.data) > 900_000:
            raise InstanceAlreadyExists(new.instance)
        await ModelProvider.create_instance(self, new)

    return provider_with(create_instance=create_instance)


@breaks_promises("13")
def a_continuation_empties_the_mailbox(patch):
    arrived = []

    async def send(self, messages):
        for message in messages:
            if message.data.count(b'"4"') and message.kind is MessageKind.EVENT:
                arrived.append(message)
            else:
                await ModelProvider.send(self, [message])

    return provider_with(send=send)


@pytest.mark.slow
def test_a_broken_promise_is_noticed(notices, broken_promise, scenario):
    assert notices(broken_promise, scenario)
