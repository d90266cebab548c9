"""What is stored, through the management capability."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from perdure import (
    ApplicationFailure,
    Client,
    InstanceStatus,
    ManagementNotAvailable,
    Page,
    QueueDepths,
    Raised,
    SystemMetrics,
)
from perdure.clock import to_datetime
from perdure.contract import DelegatingProvider
from perdure.errors import (
    ExecutionNotFound,
    InstanceNotFound,
    InvalidInput,
    ProviderError,
    StorageCorrupt,
    StorageUnavailable,
)
from perdure.history import EventRaised, OrchestrationStarted, WaitCreated

FAILURE = ApplicationFailure(Raised(type_name="ValueError", message="no stock"))
METHODS = {
    "list_all_instances": (),
    "list_instances_by_status": ("Running",),
    "get_instance_info": ("i",),
    "get_execution_info": ("i", 1),
    "list_executions": ("i",),
    "read_execution_history": ("i", 1),
    "get_system_metrics": (),
    "get_queue_depths": (),
}


class Unmanaged(DelegatingProvider):
    """A provider without the capability."""

    def as_management_capability(self):
        return None


def started(number, clock, execution=1):
    return OrchestrationStarted(
        event_id=number,
        at=clock.now(),
        instance="i",
        incarnation="x",
        execution=execution,
        name="Sum",
        version="1.0.0",
        input="null",
        python="3.12",
        engine=1,
    )


def waited(number, clock):
    return WaitCreated(event_id=number, at=clock.now(), name="go")


async def test_the_capability_is_a_plain_predicate(client, provider):
    assert client.has_management_capability() is True
    assert Client(Unmanaged(provider)).has_management_capability() is False


@pytest.mark.parametrize("method", METHODS)
async def test_without_the_capability_each_method_names_the_provider(provider, method):
    with pytest.raises(ManagementNotAvailable) as caught:
        await getattr(Client(Unmanaged(provider)), method)(*METHODS[method])

    assert str(caught.value).startswith("management features not available")
    assert provider.description in str(caught.value)


async def test_listings_are_newest_first(client, clock):
    for name in ("a", "b", "c"):
        await client.start_orchestration(name, "Sum")
        clock.advance(timedelta(seconds=1))

    assert list(await client.list_all_instances()) == ["c", "b", "a"]


async def test_pages_follow_each_other_without_gaps(client, clock):
    for number in range(7):
        await client.start_orchestration(f"i{number}", "Sum")
    found: list[str] = []
    sizes: list[int] = []
    token = None
    while True:
        page = await client.list_all_instances(page_size=3, token=token)
        found.extend(page)
        sizes.append(len(page))
        token = page.next_token
        if token is None:
            break

    assert sorted(found) == [f"i{number}" for number in range(7)]
    assert max(sizes) == 3


@pytest.mark.parametrize("size", [0, -1, 1001, 1.5, "10", True])
async def test_a_page_size_out_of_range_is_refused(client, size):
    with pytest.raises(InvalidInput, match="page size"):
        await client.list_all_instances(page_size=size)


@pytest.mark.parametrize("token", ["made up", 7, b"x", ""])
async def test_a_token_that_no_page_had_is_refused(client, token):
    await client.start_orchestration("i", "Sum")
    with pytest.raises(InvalidInput):
        await client.list_all_instances(token=token)


async def test_instances_are_listed_by_the_status_of_their_newest_execution(client, turns):
    for name in ("running", "completed", "failed", "renewed"):
        await client.start_orchestration(name, "Sum")
    await turns.complete("completed", "1")
    await turns.fail("failed", FAILURE)
    await turns.continue_as_new("renewed")

    assert set(await client.list_instances_by_status("Running")) == {"running", "renewed"}
    assert await client.list_instances_by_status(InstanceStatus.COMPLETED) == ["completed"]
    assert await client.list_instances_by_status("Failed") == ["failed"]
    assert await client.list_instances_by_status("ContinuedAsNew") == ["renewed"]


@pytest.mark.parametrize("status", ["running", "Parked", "", None, 1])
async def test_an_unknown_status_is_refused_with_the_valid_ones(client, status):
    with pytest.raises(InvalidInput, match="'Running', 'Completed', 'Failed', 'ContinuedAsNew'"):
        await client.list_instances_by_status(status)


async def test_the_info_of_an_instance_is_complete(client, turns, clock):
    created = datetime.fromtimestamp(clock.now() / 1_000_000, UTC)
    await client.start_orchestration("i", "Sum", "1", version="2.0.0")
    clock.advance(timedelta(seconds=5))
    await turns.complete("i", '{"sum": 3}')

    info = await client.get_instance_info("i")
    assert info.instance == "i"
    assert info.orchestration_name == "Sum"
    assert info.orchestration_version == "2.0.0"
    assert info.execution == 1
    assert info.status is InstanceStatus.COMPLETED
    assert info.output == '{"sum": 3}'
    assert info.failure is None
    assert info.parent_instance is None
    assert info.created_at == created
    assert info.created_at.utcoffset() == timedelta(0)
    assert info.updated_at == created + timedelta(seconds=5)
    assert info.parked is None


async def test_the_info_of_a_failed_instance_says_why_and_has_no_output(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.fail("i", FAILURE)

    instance, execution = (
        await client.get_instance_info("i"),
        await client.get_execution_info("i", 1),
    )
    assert (instance.output, instance.failure) == (None, FAILURE)
    assert (execution.output, execution.failure) == (None, FAILURE)


async def test_the_info_of_a_child_names_its_parent(client, turns):
    await client.start_orchestration("parent", "Sum")
    await turns.start_child("parent", "child")

    assert (await client.get_instance_info("child")).parent_instance == "parent"


async def test_the_info_of_a_parked_instance_says_why(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.park("i", "unregistered", "no runtime has it")

    assert (await client.get_instance_info("i")).parked.reason == "unregistered"


async def test_executions_are_numbered_and_looked_at_one_by_one(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    await turns.continue_as_new("i", started(1, clock), waited(2, clock))
    clock.advance(timedelta(seconds=1))
    await turns.continue_as_new("i", started(1, clock, execution=2))
    await turns.complete("i", "1")

    assert await client.list_executions("i") == [1, 2, 3]
    first = await client.get_execution_info("i", 1)
    assert first.execution == 1
    assert first.status is InstanceStatus.CONTINUED_AS_NEW
    assert first.event_count == 2
    assert first.output is None
    assert first.completed_at is not None
    last = await client.get_execution_info("i", 3)
    assert (last.status, last.output, last.failure) == ("Completed", "1", None)
    assert last.event_count == 0
    assert last.started_at == first.completed_at + timedelta(seconds=1)


async def test_a_running_execution_has_no_end(client):
    await client.start_orchestration("i", "Sum")

    info = await client.get_execution_info("i", 1)
    assert (info.status, info.output, info.completed_at) == ("Running", None, None)


@pytest.mark.parametrize(
    "method",
    ["get_instance_info", "list_executions", "get_execution_info", "read_execution_history"],
)
async def test_an_unknown_instance_is_not_found(client, method):
    with pytest.raises(InstanceNotFound, match="'i'") as caught:
        await getattr(client, method)(*METHODS[method])

    assert caught.value.instance == "i"
    assert not isinstance(caught.value, ProviderError)


@pytest.mark.parametrize("method", ["get_execution_info", "read_execution_history"])
@pytest.mark.parametrize("execution", [0, -1, 2, 2**70])
async def test_an_unknown_execution_is_not_found(client, method, execution):
    await client.start_orchestration("i", "Sum")
    with pytest.raises(ExecutionNotFound, match=str(execution)):
        await getattr(client, method)("i", execution)


@pytest.mark.parametrize("execution", ["1", 1.0, None, True])
async def test_an_execution_that_is_no_number_is_refused(client, execution):
    await client.start_orchestration("i", "Sum")
    with pytest.raises(InvalidInput, match="execution"):
        await client.get_execution_info("i", execution)


async def test_a_history_is_read_in_order_from_the_start_event(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    await turns.step("i", started(1, clock), waited(2, clock))
    await client.raise_event("i", "go", "1")
    raised = EventRaised(event_id=3, at=clock.now(), name="go", data="1", message_id="event:1")
    await turns.step("i", raised)

    history = await client.read_execution_history("i", 1)
    assert [event.event_id for event in history] == [1, 2, 3]
    assert [event.kind for event in history] == [
        "OrchestrationStarted",
        "WaitCreated",
        "EventRaised",
    ]
    assert history[2] == raised
    assert "EventRaised(name='go', data='1'" in str(history[2])
    assert history[0].time.utcoffset() == timedelta(0)


async def test_a_history_before_the_first_turn_is_empty(client):
    await client.start_orchestration("i", "Sum")

    assert await client.read_execution_history("i", 1) == []


async def test_a_long_history_is_read_page_by_page(client, turns, clock, provider):
    await client.start_orchestration("i", "Sum")
    await turns.step("i", *(waited(number, clock) for number in range(1, 2501)))

    history = await client.read_execution_history("i", 1)
    assert [event.event_id for event in history] == list(range(1, 2501))


async def test_a_history_is_read_on_behind_an_event(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    await turns.step("i", started(1, clock), waited(2, clock), waited(3, clock))

    assert [each.event_id for each in await client.read_execution_history("i", 1, after=2)] == [3]
    assert await client.read_execution_history("i", 1, after=10**30) == []
    with pytest.raises(InvalidInput, match="after -1 is out of range"):
        await client.read_execution_history("i", 1, after=-1)


async def test_an_undecodable_event_is_reported_with_its_place(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    await turns.step("i", started(1, clock), b'{"kind": "OfTheFuture"}')

    with pytest.raises(StorageCorrupt, match="event 2 of execution 1 of instance 'i'"):
        await client.read_execution_history("i", 1)


async def test_the_figures_add_up(client, turns, clock):
    for name in ("running", "completed", "failed"):
        await client.start_orchestration(name, "Sum")
    await turns.complete("completed", "1", waited(1, clock))
    await turns.fail("failed", FAILURE)
    await turns.continue_as_new("running", waited(1, clock), waited(2, clock))

    assert await client.get_system_metrics() == SystemMetrics(
        total_instances=3,
        total_executions=4,
        running_instances=1,
        completed_instances=1,
        failed_instances=1,
        total_events=3,
    )


async def test_queue_depths_count_what_waits_and_tell_since_when(client, clock):
    started = to_datetime(clock.now())
    await client.start_orchestration("i", "Sum")
    clock.advance(timedelta(minutes=5))
    await client.raise_event("i", "go")
    await client.raise_event("unknown", "go")

    assert await client.get_queue_depths() == QueueDepths(
        orchestrator_queue=2,
        worker_queue=0,
        timer_queue=0,
        oldest_message=started,
        oldest_activity=None,
        counted_at=to_datetime(clock.now()),
    )


async def test_management_is_repeated_when_the_trouble_passes(provider, turns):
    class Busy(DelegatingProvider):
        tries = 0

        async def read_instance(self, instance):
            self.tries += 1
            if self.tries < 3:
                raise StorageUnavailable("the storage is busy; try again", operation="read")
            return await super().read_instance(instance)

    client = Client(Busy(provider))
    await client.start_orchestration("i", "Sum")
    info = await turns.pass_time(asyncio.ensure_future(client.get_instance_info("i")))

    assert info.instance == "i"


def test_a_page_is_an_immutable_sequence():
    page = Page(["b", "a"], next_token="more")  # noqa: S106 # of a page

    assert (len(page), page[0], page[-1], page[:1]) == (2, "b", "a", ("b",))
    assert list(page) == ["b", "a"]
    assert "a" in page
    assert page == ["b", "a"] == page
    assert page == ("b", "a")
    assert page != ["a", "b"]
    assert page != "ba"
    assert hash(page) == hash(Page(["b", "a"]))
    assert repr(page) == "Page(['b', 'a'], next_token='more')"
    with pytest.raises(TypeError):
        page[0] = "c"
    with pytest.raises(AttributeError):
        page.next_token = None
