"""Management, named stores and namespaces, and how URLs are read."""

from datetime import timedelta

import pytest
from perdure.contract import ExecutionEnd, InstanceStatus, MessageKind, NewActivity, ProviderUrl
from perdure.errors import InvalidInput, InvalidProviderUrl
from perdure_memory import MemoryOptions, drop
from pydantic import ValidationError

SECOND = timedelta(seconds=1)


async def test_pages_are_newest_first_without_gaps_while_others_are_created(bench):
    admin = bench.provider.as_management_capability()
    for number in range(5):
        await bench.create(str(number))
    first = await admin.list_instances(limit=2)
    await bench.create("later")
    second = await admin.list_instances(limit=2, token=first.next_token)
    third = await admin.list_instances(limit=2, token=second.next_token)

    assert (first.ids, second.ids, third.ids) == (("4", "3"), ("2", "1"), ("0",))
    assert third.next_token is None


async def test_a_full_last_page_has_no_token(bench):
    await bench.create()

    page = await bench.provider.as_management_capability().list_instances(limit=1)
    assert (page.ids, page.next_token) == (("a",), None)


@pytest.mark.parametrize("token", ["", "x", "before-9", "before--1", "before-1\n", "before-01"])
async def test_a_foreign_token_is_refused(bench, token):
    await bench.create()

    with pytest.raises(InvalidInput, match="token"):
        await bench.provider.as_management_capability().list_instances(limit=1, token=token)


async def test_statuses_executions_and_counts_agree(bench):
    admin = bench.provider.as_management_capability()
    for instance in ("running", "again", "done", "failed"):
        await bench.create(instance)
    running, again, done, failed = await bench.lease()
    await bench.commit(running, events=(b"1",))
    await bench.commit(
        again, events=(b"1", b"2"), end=ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)
    )
    bench.clock.advance(SECOND)
    await bench.commit(done, end=ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"out"))
    await bench.commit(failed, end=ExecutionEnd(status=InstanceStatus.FAILED))

    by_status = {
        status: (await admin.list_instances(status=status, limit=10)).ids
        for status in InstanceStatus
    }
    assert by_status == {
        InstanceStatus.RUNNING: ("again", "running"),
        InstanceStatus.COMPLETED: ("done",),
        InstanceStatus.FAILED: ("failed",),
        InstanceStatus.CONTINUED_AS_NEW: ("again",),
    }
    executions = await admin.list_executions("again")
    assert [(each.execution, each.status, each.event_count) for each in executions] == [
        (1, InstanceStatus.CONTINUED_AS_NEW, 2),
        (2, InstanceStatus.RUNNING, 0),
    ]
    execution = await admin.read_execution("done", 1)
    assert (execution.output, execution.completed_at) == (b"out", bench.clock.now())
    counts = await admin.count_instances()
    assert (counts.total_instances, counts.total_executions, counts.total_events) == (4, 5, 3)
    assert counts.running_instances + counts.completed_instances + counts.failed_instances == 4


async def test_queues_count_what_is_not_leased_and_nothing_void(bench):
    admin = bench.provider.as_management_capability()
    await bench.provider.send([bench.message("kept for later", "absent")])
    await bench.create("leased")
    [turn] = await bench.lease()
    timer = bench.message("t", "leased", MessageKind.TIMER, visible_at=bench.after(9))
    await bench.commit(
        turn,
        add=(NewActivity(id="1", name="charge", data=b""),),
        send=(timer, bench.message("e", "leased")),
        keep_for=30 * SECOND,
    )
    await bench.create("free")
    depths = await admin.count_queues()
    assert (depths.orchestrator_queue, depths.worker_queue, depths.timer_queue) == (1, 1, 1)

    bench.clock.advance(30 * SECOND)
    await bench.take()
    depths = await admin.count_queues()
    assert (depths.orchestrator_queue, depths.worker_queue, depths.timer_queue) == (3, 0, 0)


async def test_a_named_store_is_shared_until_it_is_dropped(new_bench):
    options = MemoryOptions(name="shared")
    await new_bench(options).create()
    assert await new_bench(options).provider.read_instance("a") is not None
    elsewhere = MemoryOptions(name="shared", namespace="elsewhere")
    assert await new_bench(elsewhere).provider.read_instance("a") is None

    drop("shared")
    drop("never was")
    assert await new_bench(options).provider.read_instance("a") is None
    drop("shared")


async def test_a_store_without_a_name_is_private(new_bench):
    await new_bench().create()

    assert await new_bench().provider.read_instance("a") is None


def test_urls_name_the_store_with_its_case():
    options = MemoryOptions.from_url(ProviderUrl.parse("memory://My%20Store?namespace=b"))

    assert (options.name, options.namespace) == ("My Store", "b")
    assert MemoryOptions.from_url(ProviderUrl.parse("memory://")) == MemoryOptions()


@pytest.mark.parametrize("url", ["memory:///path", "memory://a?name=b"])
def test_urls_that_make_no_sense_are_refused(url):
    with pytest.raises(InvalidProviderUrl, match="memory://name"):
        MemoryOptions.from_url(ProviderUrl.parse(url))


def test_unknown_options_are_refused():
    with pytest.raises(ValidationError):
        MemoryOptions.from_url(ProviderUrl.parse("memory://?speed=high"))
