"""Values and custom statuses on items: what they cost, and what is left of those that were replaced."""

import asyncio
import os
from uuid import uuid4

import pytest
from perdure.contract import ExecutionEnd, InstanceStatus, TurnRequest
from perdure.errors import StorageUnavailable
from perdure_conformance.samples import LEASE, SERVES, commit_of, new_instance
from perdure_dynamodb.testing.faults import FaultyCalls
from perdure_dynamodb.testing.metering import MeteringCalls
from perdure_dynamodb.testing.tampering import failing

LARGE = os.urandom(60_000)
ALPHA = "test#I#alpha"


async def lease(provider):
    [turn] = await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=10, lease_for=LEASE, serves=SERVES)
    )
    return turn


async def settle():
    for _ in range(300):
        await asyncio.sleep(0)


def kinds(model):
    return sorted(sort[:2] for partition, sort in model.items if partition == ALPHA)


async def test_what_a_commit_replaces_leaves_no_payload_behind(open_on_model, model):
    async with open_on_model() as provider:
        await provider.create_instance(new_instance())
        turn = await lease(provider)
        for number in range(3):
            await provider.commit_turn(
                commit_of(
                    turn,
                    id=f"c{number}",
                    remove=("start",),
                    values={"large": LARGE, "small": b"%d" % number},
                    custom_status=LARGE,
                    keep_for=LEASE,
                )
            )
        await settle()
        assert kinds(model) == ["A", "B", "K#", "K#", "X#", "X#"]
        state = await provider.read_instance("alpha")
        assert (state.custom_status, state.custom_status_version, state.value_count) == (
            LARGE,
            3,
            2,
        )

        await provider.commit_turn(
            commit_of(
                turn,
                id="last",
                remove=(),
                values={"large": None, "never": None},
                custom_status=b"short",
            )
        )
        await settle()
        assert kinds(model) == ["A", "B", "K#"]
        state = await provider.read_instance("alpha")
        assert (state.custom_status, state.custom_status_version, state.value_count) == (
            b"short",
            4,
            1,
        )
        found = await provider.read_values("alpha")
        assert (found.last_commit, found.values) == ("last", {"small": b"2"})


@pytest.mark.parametrize("count", [1, 256], ids=["in one transaction", "staged"])
async def test_a_commit_that_fails_at_any_request_sets_all_values_or_none(
    count, open_on_model, model
):
    values = {f"k{number}": b"new" * 2000 for number in range(count)}
    step, reached = 0, True
    while reached:
        # A staged commit has many requests alike.
        step += 1 if step < 8 or count == 1 else 37
        namespace = f"at-{step}"
        async with (
            open_on_model(namespace=namespace) as provider,
            open_on_model(namespace=namespace) as other,
        ):
            await provider.create_instance(new_instance())
            turn = await lease(provider)
            before = commit_of(
                turn, id="before", values={"k0": b"old", "kept": b"1"}, keep_for=LEASE
            )
            await provider.commit_turn(before)
            commit = commit_of(
                turn, id="commit", remove=(), values=values, custom_status=b"s", keep_for=LEASE
            )
            with failing(provider.table, step) as calls:
                try:
                    await provider.commit_turn(commit)
                except StorageUnavailable:
                    found = await other.read_values("alpha")
                    state = await other.read_instance("alpha")
                    is_new = found.last_commit == "commit"
                    wanted = {**values, "kept": b"1"} if is_new else before.values
                    assert found.values == wanted
                    assert state.custom_status_version == is_new
                    assert state.value_count == len(wanted)
                reached = calls.reached
            await provider.commit_turn(commit)
            state = await other.read_instance("alpha")
            assert (state.custom_status_version, state.value_count) == (1, count + 1)
    assert step > 6


async def test_values_that_are_read_are_those_of_one_commit(open_on_model, model):
    """A commit comes between the look at the lock item and the read of the values."""
    changed = False

    async def change():
        await writer.commit_turn(
            commit_of(turn, id="second", remove=(), values={"a": b"2", "b": b"2"}, keep_for=LEASE)
        )

    class Between:
        async def call(self, operation, parameters):
            nonlocal changed
            if operation == "Query" and "K#" in str(parameters) and not changed:
                changed = True
                await change()
            return await model.call(operation, parameters)

    async with open_on_model() as writer, open_on_model(Between()) as reader:
        await writer.create_instance(new_instance())
        turn = await lease(writer)
        await writer.commit_turn(
            commit_of(turn, id="first", values={"a": b"1", "b": b"1"}, keep_for=LEASE)
        )

        found = await reader.read_values("alpha")

    assert (found.last_commit, found.values) == ("second", {"a": b"2", "b": b"2"})


async def test_values_outlast_executions_and_lives_and_go_with_the_instance(open_on_model, model):
    async with open_on_model() as provider:
        await provider.create_instance(new_instance())
        turn = await lease(provider)
        end = ExecutionEnd(status=InstanceStatus.FAILED, output=b"")
        await provider.commit_turn(commit_of(turn, values={"k": LARGE, "#~\x7f": b"1"}, end=end))
        assert set((await provider.read_values("alpha")).values) == {"k", "#~\x7f"}

        await provider.delete_instance("alpha", incarnation="alpha@1")
        await provider.create_instance(new_instance(incarnation="alpha@2"))

        assert (await provider.read_values("alpha")).values == {}
        await settle()
        assert kinds(model) == ["A", "B", "M#"]


async def test_a_commit_without_values_asks_for_none(open_on_model, model):
    meter = MeteringCalls(FaultyCalls(model, lambda operation, parameters: None))
    async with open_on_model(meter) as provider:
        await provider.create_instance(new_instance())
        turn = await lease(provider)
        meter.take()

        await provider.commit_turn(commit_of(turn, id="plain", events=(b"1",), keep_for=LEASE))
        plain = meter.take()
        await provider.commit_turn(
            commit_of(
                turn,
                id="status",
                remove=(),
                expected_event=1,
                events=(b"2",),
                custom_status=b"half",
                keep_for=LEASE,
            )
        )
        with_status = meter.take()
        await provider.commit_turn(
            commit_of(
                turn,
                id="value",
                remove=(),
                expected_event=2,
                events=(b"3",),
                values={"k": b"1"},
                keep_for=LEASE,
            )
        )
        with_value = meter.take()

    assert (plain.total, plain.read_units) == (1, 0)
    # The first one also removes the start message.
    assert with_status.write_units <= plain.write_units
    assert (with_value.total, with_value.read_units) == (2, 1)
    assert with_value.write_units == with_status.write_units + 2
