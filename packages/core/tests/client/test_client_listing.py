"""Listing instances by what they are, and describing one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from perdure import (
    ApplicationFailure,
    CapabilityMissing,
    Client,
    InstanceFilter,
    InstanceNotFound,
    InstanceStatus,
    InvalidInput,
    Raised,
)
from perdure.clock import to_datetime, to_microseconds
from perdure.contract import DelegatingProvider
from perdure.history import (
    ActivityFailed,
    ActivityScheduled,
    ChildScheduled,
    EventRaised,
    OrchestrationStarted,
    TimerCreated,
    WaitCreated,
)

FAILURE = ApplicationFailure(Raised(type_name="ValueError", message="no stock"))


async def found(client: Client, **conditions: object) -> list[str]:
    page = await client.list_instances(InstanceFilter(**conditions))
    return [info.instance for info in page]


async def test_instances_are_found_by_each_condition(client, turns, clock):
    began = to_datetime(clock.now())
    await client.start_orchestration("root", "Sum", labels={"tenant": "acme", "day": "1"})
    await turns.start_child("root", "child")
    clock.advance(timedelta(hours=1))
    await client.start_orchestration("done", "Greet", labels={"tenant": "acme"})
    await turns.complete("done", "1")
    await client.start_orchestration("failed", "Greet")
    await turns.fail("failed", FAILURE)
    await client.start_orchestration("parked", "Other")
    await turns.park("parked", "unregistered", "no runtime has it")
    later = began + timedelta(minutes=30)

    assert set(await found(client)) == {"parked", "failed", "done", "child", "root"}
    assert await found(client, status="Failed") == ["failed"]
    both = [InstanceStatus.FAILED, "Completed"]
    assert set(await found(client, status=both)) == {"failed", "done"}
    assert set(await found(client, orchestration=["Greet", "Other"])) == {
        "parked",
        "failed",
        "done",
    }
    assert await found(client, parked=True) == ["parked"]
    assert await found(client, parked="unregistered") == ["parked"]
    assert await found(client, parked=["broken"]) == []
    assert await found(client, id_prefix="pa") == ["parked"]
    assert set(await found(client, created_before=later)) == {"child", "root"}
    assert set(await found(client, updated_after=later)) >= {"failed", "done"}
    assert "child" not in await found(client, roots_only=True)
    assert await found(client, parent="root") == ["child"]
    assert set(await found(client, labels={"tenant": "acme"})) == {"done", "root"}
    assert await found(client, labels={"tenant": "acme", "day": "1"}) == ["root"]


async def test_a_listing_is_followed_page_by_page(client):
    for number in range(7):
        await client.start_orchestration(f"i{number}", "Sum")
    seen: list[str] = []
    token = None
    while True:
        page = await client.list_instances(limit=3, token=token)
        seen.extend(info.instance for info in page)
        token = page.next_token
        if token is None:
            break

    assert sorted(seen) == [f"i{number}" for number in range(7)]


async def test_an_info_has_the_labels(client):
    await client.start_orchestration("i", "Sum", labels={"tenant": "acme"})
    (info,) = await client.list_instances()

    assert info.labels == {"tenant": "acme"}
    assert info == await client.get_instance_info("i")
    hash(info)


@pytest.mark.parametrize(
    "conditions",
    [
        {"status": "running"},
        {"status": "ContinuedAsNew"},
        {"status": 7},
        {"orchestration": [""]},
        {"orchestration": 7},
        {"id_prefix": 7},
        {"created_after": "yesterday"},
        {"parent": ""},
        {"roots_only": "yes"},
        {"labels": {"tenant": 7}},
        {"parked": [7]},
        {"parked": [[7]]},
        {"parked": "unregistred"},
    ],
)
async def test_a_condition_that_does_not_fit_is_refused(client, conditions):
    with pytest.raises(InvalidInput):
        await client.list_instances(InstanceFilter(**conditions))


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": 1001}, {"token": 7}, {"token": "x"}])
async def test_a_limit_or_a_token_that_does_not_fit_is_refused(client, arguments):
    await client.start_orchestration("i", "Sum")
    with pytest.raises(InvalidInput):
        await client.list_instances(**arguments)


def started(clock):
    return OrchestrationStarted(
        event_id=1,
        at=clock.now(),
        instance="i",
        incarnation="x",
        execution=1,
        name="Sum",
        version="1.0.0",
        input="null",
        python="3.12",
        engine=1,
    )


async def test_a_description_shows_everything_that_is_open(client, turns, clock):
    at = clock.now()
    await client.start_orchestration("i", "Sum", labels={"tenant": "acme"})
    await turns.step(
        "i",
        started(clock),
        ActivityScheduled(event_id=2, at=at, name="charge", input="1"),
        ActivityFailed(event_id=3, at=at, scheduled=2, details=FAILURE),
        ActivityScheduled(event_id=4, at=at, name="charge", input="1", attempt=2),
        TimerCreated(event_id=5, at=at, fire_at=at + to_microseconds(timedelta(hours=1))),
        WaitCreated(event_id=6, at=at, name="approval"),
        EventRaised(event_id=7, at=at, name="other", data="1", message_id="event:one"),
        ChildScheduled(event_id=8, at=at, instance="c", name="Sum", input="1"),
    )
    description = await client.describe_instance("i")

    assert description.info == await client.get_instance_info("i")
    (activity,) = description.activities
    assert (activity.name, activity.scheduled, activity.attempt) == ("charge", 4, 2)
    assert (activity.last_failure, activity.leased_until) == (FAILURE, None)
    assert [timer.due for timer in description.timers] == [to_datetime(at) + timedelta(hours=1)]
    assert [wait.name for wait in description.waits] == ["approval"]
    assert [(event.name, event.event_id) for event in description.kept_events] == [("other", "one")]
    assert (description.event_count, description.history_bytes > 500) == (8, True)
    since = "since 2030-01-01 00:00:00 UTC"
    assert description.doing == (
        f"waits for a worker for activity 'charge' (attempt 2) {since};"
        f" waits for event 'approval' {since}; waits for child 'c' {since};"
        " sleeps until 2030-01-01 01:00:00 UTC"
    )


async def test_a_description_says_what_the_instance_is_doing(client, turns, clock):
    async def doing() -> str:
        return (await client.describe_instance("i")).doing

    await client.start_orchestration("i", "Sum")
    assert await doing() == "waits for its first turn since 2030-01-01 00:00:00 UTC"
    await turns.park("i", "unregistered", "no runtime has it")
    assert await doing() == (
        "is parked (unregistered) since 2030-01-01 00:00:00 UTC: no runtime has it"
    )
    turn = await turns.lease("i")
    assert await doing() == (
        "is parked (unregistered) since 2030-01-01 00:00:00 UTC: no runtime has it"
    )
    start_at = clock.now() + to_microseconds(timedelta(days=1))
    later = TimerCreated(event_id=2, at=clock.now(), fire_at=start_at, purpose="start")
    await turns.commit(turn, started(clock), later)
    assert await doing() == "starts at 2030-01-02 00:00:00 UTC"
    await client.raise_event("i", "go")
    turn = await turns.lease("i")
    assert await doing() == "runs a turn"
    await turns.commit(turn)
    await client.raise_event("i", "go")
    await turns.fail("i", FAILURE)
    assert await doing() == "failed at 2030-01-01 00:00:00 UTC: ValueError: no stock"


async def test_a_damaged_history_is_told_of_and_does_not_hide_the_rest(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    waited = WaitCreated(event_id=2, at=clock.now(), name="approval")
    await turns.step("i", started(clock), waited, b"damaged")
    description = await client.describe_instance("i")

    assert "event 3 of execution 1 of instance 'i' cannot be decoded" in description.damage
    assert [wait.name for wait in description.waits] == ["approval"]
    assert (description.event_count, description.info.instance) == (3, "i")


async def test_a_lease_that_has_run_out_is_none(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    await turns.lease("i")
    description = await client.describe_instance("i")
    assert description.doing == "runs its first turn"
    assert description.leased_until == to_datetime(clock.now()) + timedelta(seconds=30)
    assert description.attempt == 1

    clock.advance(timedelta(minutes=1))
    description = await client.describe_instance("i")
    assert description.leased_until is None
    assert description.doing == "waits for its first turn since 2030-01-01 00:00:00 UTC"


async def test_a_description_shows_the_children_of_this_instance_alone(client, turns):
    await client.start_orchestration("root", "Sum")
    await turns.start_child("root", "child")
    description = await client.describe_instance("root")

    assert [child.instance for child in description.children] == ["child"]
    with pytest.raises(InstanceNotFound):
        await client.describe_instance("nowhere")


async def test_without_the_capability_each_call_names_it(provider):
    plain = DelegatingProvider(provider)
    plain.capabilities = frozenset()
    client = Client(plain)
    for call in (
        client.list_instances(),
        client.describe_instance("i"),
        client.get_instance_tree("i"),
    ):
        with pytest.raises(CapabilityMissing, match="'listing'"):
            await call
