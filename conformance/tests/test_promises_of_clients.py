"""Clients that break what users are promised: the scenarios that they break must fail."""

from dataclasses import replace

import pytest
from perdure.client import trees
from perdure.client.creating import create
from perdure.contract import Message, MessageKind
from perdure.errors import ActivityLeaseLost
from perdure_conformance.broken_providers import breaks_promises
from perdure_conformance.model import ModelProvider


def provider_with(**methods):
    return type("Spoiled", (ModelProvider,), methods)


@breaks_promises("49")
def a_start_that_may_return_the_instance_raises(patch):
    async def create_or_raise(provider, new, if_exists):
        await create(provider, new, "raise" if if_exists == "return" else if_exists)

    patch.setattr("perdure.client.starts.create", create_or_raise)


@breaks_promises("49a")
def a_replaced_instance_leaves_its_children(patch):
    async def delete_nothing(provider, root):
        return 0

    patch.setattr("perdure.client.creating.delete_descendants", delete_nothing)


@breaks_promises("49b")
def a_delayed_start_begins_at_once(patch):
    patch.setattr("perdure.client.start_options._check_start", lambda *arguments: None)


@breaks_promises("31")
def a_deletion_leaves_the_events(patch):
    kept = []

    async def send(self, messages):
        kept.extend(each for each in messages if each.kind is MessageKind.EVENT)
        await ModelProvider.send(self, messages)

    async def delete_instance(self, instance, *, incarnation):
        deleted = await ModelProvider.delete_instance(self, instance, incarnation=incarnation)
        await ModelProvider.send(self, [each for each in kept if each.instance == instance])
        return deleted

    return provider_with(send=send, delete_instance=delete_instance)


@breaks_promises("31a")
def a_late_result_goes_to_the_instance_that_has_the_id(patch):
    async def complete_activity(self, completion):
        try:
            await ModelProvider.complete_activity(self, completion)
        except ActivityLeaseLost:
            state = await self.read_instance(completion.message.instance)
            late = replace(completion.message, incarnation=state.incarnation)
            await ModelProvider.send(self, [late])

    return provider_with(complete_activity=complete_activity)


@breaks_promises("51")
def a_parent_is_not_told_of_a_deletion(patch):
    def answer_nowhere(parent, result, details=None):
        return Message(
            id="lost", instance="nowhere", incarnation="x", kind=MessageKind.CHILD, data=b""
        )

    patch.setattr("perdure.client.ending.child_answer", answer_nowhere)


@breaks_promises("51a")
def a_deletion_leaves_the_children(patch):
    async def no_descendants(provider, root):
        return []

    patch.setattr(trees, "descendants_of", no_descendants)


@breaks_promises("51b")
def a_deletion_begins_at_the_root(patch):
    async def delete_from_the_root(provider, order):
        for state in order:
            await trees._delete_one(provider, state)
        return len(order)

    patch.setattr(trees, "_delete", delete_from_the_root)


@breaks_promises("51c")
def a_termination_leaves_the_children(patch):
    patch.setattr("perdure.client.ending._cancellations", lambda state, events: iter(()))


@pytest.mark.slow
def test_a_broken_promise_is_noticed(notices, broken_promise, scenario):
    assert notices(broken_promise, scenario)
