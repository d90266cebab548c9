"""Deleting instances with their trees, old executions, early events, everything."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from perdure import (
    ApplicationFailure,
    CapabilityMissing,
    Client,
    InstanceAlreadyExists,
    InstanceFilter,
    InstanceNotFound,
    InstanceRunning,
    InvalidInput,
    NotFound,
    Raised,
    Terminated,
)
from perdure.clock import to_datetime
from perdure.contract import DelegatingProvider, MessageKind
from perdure.errors import StorageFailed
from perdure.history import WaitCreated
from perdure.model.wire import decode_result

FAILURE = ApplicationFailure(Raised(type_name="ValueError", message="no stock"))


async def family(client, turns, *, ended: bool) -> None:
    """`root` with the child `child` and the grandchild `grandchild`."""
    await client.start_orchestration("root", "Sum")
    await turns.start_child("root", "child")
    await turns.start_child("child", "grandchild")
    if ended:
        for instance in ("grandchild", "child", "root"):
            await client.raise_event(instance, "go")  # so that it is ready
            await turns.complete(instance, "1")


async def test_an_ended_tree_is_deleted_whole(client, turns):
    await family(client, turns, ended=True)
    await client.start_orchestration("other", "Sum")

    assert await client.delete_instance("root") == 3
    assert list(await client.list_all_instances()) == ["other"]
    assert await client.get_orchestration_status("child") == NotFound()
    assert await client.delete_instance("root") == 0


async def test_a_tree_of_which_some_runs_is_left_alone(client, turns):
    await family(client, turns, ended=False)
    for instance in ("child", "root"):
        await client.raise_event(instance, "go")
        await turns.complete(instance, "1")

    with pytest.raises(InstanceRunning, match="'grandchild' is running"):
        await client.delete_instance("root")
    assert len(await client.list_all_instances()) == 3


async def test_a_running_tree_is_deleted_with_force(client, turns):
    await family(client, turns, ended=False)

    assert await client.delete_instance("root", force=True) == 3
    assert list(await client.list_all_instances()) == []


async def test_a_child_of_a_running_parent_is_deleted_with_force_and_its_parent_told(client, turns):
    await family(client, turns, ended=False)
    with pytest.raises(InstanceRunning, match="'root' is running.*delete its child 'child'"):
        await client.delete_instance("child")

    assert await client.delete_instance("child", force=True) == 2
    turn = await turns.lease("root")
    (answer,) = [each for each in turn.messages if each.kind is MessageKind.CHILD]
    details = decode_result(answer.data).details
    assert details == ApplicationFailure(Terminated(reason="the instance was deleted"))


async def test_a_damaged_instance_is_terminated_and_deleted_all_the_same(client, turns):
    for instance in ("i", "j"):
        await client.start_orchestration(instance, "Sum")
        await turns.step(instance, b"damaged")

    assert await client.terminate_instance("i") is True
    assert await client.delete_instance("i") == 1
    assert await client.delete_instance("j", force=True) == 1


class Crashing(DelegatingProvider):
    """Stands for a process that is killed before its nth call of one kind."""

    def __init__(self, inner, operation: str, calls: int) -> None:
        super().__init__(inner)
        self.operation = operation
        self.left = calls

    async def around(self, operation, call):
        if operation == self.operation:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
        return await super().around(operation, call)


@pytest.mark.parametrize("operation", ["terminate_instance", "delete_instance"])
@pytest.mark.parametrize("calls", [0, 1, 2])
async def test_a_crash_at_any_call_is_finished_by_the_next_deletion(
    provider, client, turns, operation, calls
):
    await family(client, turns, ended=False)
    with pytest.raises(KeyboardInterrupt):
        await Client(Crashing(provider, operation, calls)).delete_instance("root", force=True)
    assert await provider.read_instance("root") is not None  # the way to what is left

    assert await client.delete_instance("root", force=True) > 0
    assert list(await client.list_all_instances()) == []


async def test_ended_roots_that_match_are_deleted_in_batches(client, turns, clock):
    for number in range(4):
        await client.start_orchestration(f"i{number}", "Sum")
        await turns.complete(f"i{number}", "1")
        clock.advance(timedelta(hours=1))
    await client.start_orchestration("running", "Sum")
    await family(client, turns, ended=False)
    old = InstanceFilter(updated_before=to_datetime(clock.now()) - timedelta(hours=2))

    assert await client.delete_instances(old, limit=10, dry_run=True) == ["i1", "i0"]
    assert await client.delete_instances(old, limit=1) == ["i1"]
    assert await client.delete_instances(old, limit=10) == ["i0"]
    assert await client.delete_instances(old, limit=10) == []
    assert await client.delete_instances(limit=10) == ["i3", "i2"]
    assert len(await client.list_all_instances()) == 4


async def test_a_bulk_deletion_leaves_out_a_root_whose_child_runs(client, turns):
    await client.start_orchestration("alone", "Sum")
    await turns.complete("alone", "1")
    await family(client, turns, ended=False)
    for instance in ("child", "root"):
        await client.raise_event(instance, "go")
        await turns.complete(instance, "1")

    assert await client.delete_instances(limit=10) == ["alone"]
    assert len(await client.list_all_instances()) == 3


async def test_a_bulk_deletion_works_on_several_instances_at_once(provider, client, turns):
    for number in range(3):
        await client.start_orchestration(f"i{number}", "Sum")
        await turns.complete(f"i{number}", "1")
    meeting = asyncio.Barrier(3)

    class Meeting(DelegatingProvider):
        async def delete_instance(self, instance, *, incarnation):
            await meeting.wait()
            return await super().delete_instance(instance, incarnation=incarnation)

    async with asyncio.timeout(5):
        deleted = await Client(Meeting(provider)).delete_instances(limit=10)

    assert deleted == ["i2", "i1", "i0"]


async def test_a_bulk_deletion_that_fails_has_no_call_under_way(provider, client, turns):
    for number in range(3):
        await client.start_orchestration(f"i{number}", "Sum")
        await turns.complete(f"i{number}", "1")

    class Failing(DelegatingProvider):
        async def delete_instance(self, instance, *, incarnation):
            if instance == "i1":
                raise StorageFailed("the disk is full", operation="delete_instance")
            await asyncio.sleep(0)
            return await super().delete_instance(instance, incarnation=incarnation)

    with pytest.raises(StorageFailed, match="the disk is full"):
        await Client(Failing(provider)).delete_instances(limit=10)

    assert list(await client.list_all_instances()) == ["i1"]


@pytest.mark.parametrize(
    ("filter", "limit", "words"),
    [
        (InstanceFilter(status="Running"), 1, "instances that are Running"),
        (InstanceFilter(parent="root"), 1, "name their roots"),
        (None, 0, "limit 0"),
        ("Failed", 1, "is no filter"),
    ],
)
async def test_a_bulk_deletion_says_what_it_does_not_take(client, filter, limit, words):
    with pytest.raises(InvalidInput, match=words):
        await client.delete_instances(filter, limit=limit)


async def executions(client, turns, clock, count: int = 4) -> None:
    """An instance that has continued as new, one execution an hour."""
    await client.start_orchestration("i", "Sum")
    for _ in range(count - 1):
        clock.advance(timedelta(hours=1))
        await turns.continue_as_new("i")


async def test_old_executions_are_pruned_by_number_and_by_age(client, turns, clock):
    await executions(client, turns, clock)
    await turns.complete("i", "1", _waited(clock))
    now = to_datetime(clock.now())

    assert await client.prune_executions("i", completed_before=now - timedelta(hours=1)) == 1
    assert await client.list_executions("i") == [2, 3, 4]
    assert await client.prune_executions("i", keep_last=1, completed_before=now) == 1
    assert await client.prune_executions("i", keep_last=2) == 0
    assert await client.prune_executions("i", keep_last=1) == 1
    assert await client.list_executions("i") == [4]
    assert await client.prune_executions("i", keep_last=1) == 0


async def test_nothing_is_pruned_that_a_rewind_may_have_to_read(client, turns, clock):
    await executions(client, turns, clock)

    assert await client.prune_executions("i", keep_last=1) == 0
    await turns.step("i", _waited(clock))
    assert await client.prune_executions("i", keep_last=1) == 3


def _waited(clock):

    return WaitCreated(event_id=1, at=clock.now(), name="go")


@pytest.mark.parametrize(
    "arguments", [{}, {"keep_last": 0}, {"keep_last": True}, {"completed_before": "yesterday"}]
)
async def test_a_pruning_that_says_nothing_is_refused(client, turns, clock, arguments):
    await executions(client, turns, clock)
    with pytest.raises(InvalidInput):
        await client.prune_executions("i", **arguments)
    with pytest.raises(InstanceNotFound):
        await client.prune_executions("nowhere", keep_last=1)


async def test_early_events_are_deleted_by_id_and_by_age(client, clock):
    await client.raise_event("a", "go")
    await client.raise_event("b", "go")
    clock.advance(timedelta(hours=1))
    await client.raise_event("b", "go")
    await client.start_orchestration("c", "Sum")
    await client.raise_event("c", "go")

    moment = to_datetime(clock.now())
    assert await client.delete_early_events("a") == 1
    assert await client.delete_early_events("b", arrived_before=moment) == 1
    assert await client.delete_early_events(arrived_before=moment + timedelta(hours=1)) == 1
    assert await client.delete_early_events("c") == 0
    with pytest.raises(InvalidInput, match="pass an instance id"):
        await client.delete_early_events()


async def test_everything_is_deleted_by_its_name_alone(client, provider):
    await client.start_orchestration("i", "Sum")
    for text in ("", "yes", True):
        with pytest.raises(InvalidInput, match="to delete everything"):
            await client.delete_namespace(confirm=text)
    assert len(await client.list_all_instances()) == 1

    await client.delete_namespace(confirm=provider.description)
    assert list(await client.list_all_instances()) == []
    await client.start_orchestration("i", "Sum")


async def test_a_tree_is_shown_with_its_states(client, turns):
    await family(client, turns, ended=False)
    await client.raise_event("grandchild", "go")
    await turns.complete("grandchild", "1")
    tree = await client.get_instance_tree("root")

    assert [(info.instance, info.status.value) for info in tree.walk()] == [
        ("root", "Running"),
        ("child", "Running"),
        ("grandchild", "Completed"),
    ]
    assert [child.info.instance for child in tree.children] == ["child"]
    with pytest.raises(InstanceNotFound):
        await client.get_instance_tree("nowhere")


async def test_a_start_replaces_an_ended_instance_with_its_children(client, turns):
    await family(client, turns, ended=True)
    handle = await client.start_orchestration("root", "Greet", if_exists="replace_ended")

    assert handle.instance == "root"
    assert list(await client.list_all_instances()) == ["root"]
    info = await client.get_instance_info("root")
    assert (info.orchestration_name, info.status.value) == ("Greet", "Running")
    for if_exists in ("replace_ended", "raise"):
        with pytest.raises(InstanceAlreadyExists):
            await client.start_orchestration("root", "Greet", if_exists=if_exists)
    await client.start_orchestration("free", "Sum", if_exists="replace_ended")


async def test_a_start_does_not_replace_what_still_runs_in_part(client, turns):
    await family(client, turns, ended=False)
    for instance in ("child", "root"):
        await client.raise_event(instance, "go")
        await turns.complete(instance, "1")

    for instance in ("root", "child"):
        with pytest.raises(InstanceAlreadyExists):
            await client.start_orchestration(instance, "Greet", if_exists="replace_ended")
    assert len(await client.list_all_instances()) == 3


async def test_without_the_capability_each_call_names_it(provider):
    plain = DelegatingProvider(provider)
    plain.capabilities = frozenset()
    client = Client(plain)
    for call in (
        client.delete_instance("i"),
        client.delete_instances(limit=1),
        client.prune_executions("i", keep_last=1),
        client.delete_early_events("i"),
        client.delete_namespace(confirm=provider.description),
        client.start_orchestration("i", "Sum", if_exists="replace_ended"),
    ):
        with pytest.raises(CapabilityMissing, match="'deletion'"):
            await call
