"""Listings by conditions: what they find, and that a page costs what it shows and little more."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityRelease,
    ActivityRequest,
    ExecutionEnd,
    InstanceQuery,
    InstanceStatus,
    NewActivity,
    ParentLink,
    ParkedMark,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.errors import InvalidInput
from perdure_conformance.samples import LEASE, SERVES, WORK, commit_of, new_instance
from perdure_dynamodb import _finding
from perdure_dynamodb.testing.metering import MeteringCalls

END = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"1")
MARK = ParkedMark(reason="unregistered", details="none has it")
RUNNING = frozenset({InstanceStatus.RUNNING})


def new(instance, **fields):
    created = new_instance(instance)
    given = {each: getattr(created, each) for each in created.__slots__}
    return type(created)(**{**given, **fields})


def link(parent):
    return ParentLink(instance=parent, incarnation=f"{parent}@1", execution=1, event=1)


async def lease(provider, limit=100):
    return await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=limit, lease_for=LEASE, serves=SERVES)
    )


async def park(provider, turn, **fields):
    await provider.release_turn(
        TurnRelease(
            lease=TurnLease(instance=turn.state.instance, token=turn.token), parked=MARK, **fields
        )
    )


async def found(provider, limit=10, **conditions):
    """The ids on all pages, and how many pages there are."""
    admin = provider.as_management_capability()
    query, ids, pages, token = InstanceQuery(**conditions), [], 0, None
    while True:
        page = await admin.find_instances(query, limit=limit, token=token)
        assert len(page.instances) <= limit
        ids += [state.instance for state in page.instances]
        pages += 1
        if page.next_token is None:
            return ids, pages
        token = page.next_token


async def settle():
    for _ in range(200):
        await asyncio.sleep(0)


async def test_pages_show_each_instance_once_newest_first_and_end(open_on_model, clock):
    async with open_on_model() as provider:
        for number in range(35):
            await provider.create_instance(new(f"i{number}"))
            clock.advance(timedelta(seconds=number % 2))
        turns = await lease(provider)
        for turn in turns[::3]:
            await provider.commit_turn(commit_of(turn, end=END))
        ended = {turn.state.instance for turn in turns[::3]}
        admin = provider.as_management_capability()
        listed = (await admin.list_instances(limit=100)).ids

        for limit in (1, 7, 35, 100):
            ids, pages = await found(provider, limit=limit)
            assert tuple(ids) == listed
            assert pages <= 35 // limit + 1
        running, _ = await found(provider, statuses=RUNNING)
        assert set(running) == set(listed) - ended


async def test_children_are_found_through_their_parent_alone(open_on_model, model):
    meter = MeteringCalls(model)
    async with open_on_model() as provider, open_on_model(meter) as other:
        for number in range(300):
            await provider.create_instance(new(f"i{number}"))
        for number in range(3):
            await provider.create_instance(new(f"c{number}", parent=link("i7")))
        meter.take()

        ids, pages = await found(other, parent="i7")

        bill = meter.take()
        assert (sorted(ids), pages) == (["c0", "c1", "c2"], 1)
        assert (bill.total, bill.read_units) == (2, 4)
        assert len((await found(provider, roots_only=True))[0]) == 300

        [turn] = [each for each in await lease(provider, 400) if each.state.instance == "c1"]
        await provider.commit_turn(commit_of(turn, end=END))
        await provider.delete_instance("c1", incarnation="c1@1")
        assert (await found(provider, parent="i7"))[0] == ["c2", "c0"]
        await settle()
        assert [key for key in model.items if "c1" in key[0] or "c1" in key[1]] == []


async def test_a_label_is_an_entry_of_the_index(open_on_model, model):
    meter = MeteringCalls(model)
    async with open_on_model() as provider, open_on_model(meter) as other:
        for number in range(300):
            labels = {"tenant": f"t{number % 100}", "": "~#\x00"}
            await provider.create_instance(new(f"i{number}", labels=labels))
        meter.take()

        ids, _ = await found(other, labels={"tenant": "t7"})

        assert sorted(ids) == ["i107", "i207", "i7"]
        assert meter.take().read_units <= 3 + 4 * 0.5
        both, _ = await found(other, labels={"tenant": "t7", "": "~#\x00"}, id_prefix="i1")
        assert both == ["i107"]
        assert (await found(other, labels={"tenant": "~#\x00"}))[0] == []
        state = await provider.read_instance("i7")
        assert state.labels == {"tenant": "t7", "": "~#\x00"}


async def test_what_is_parked_is_found_among_many_that_run(open_on_model, model, clock):
    meter = MeteringCalls(model)
    async with open_on_model() as provider, open_on_model(meter) as other:
        for number in range(300):
            await provider.create_instance(new(f"i{number}"))
        turns = {turn.state.instance: turn for turn in await lease(provider, 300)}
        await park(provider, turns["i7"], delay=LEASE)
        work = NewActivity(id="a", name="work", data=b"")
        await provider.commit_turn(commit_of(turns["i9"], add=(work,)))
        [leased] = await provider.lease_activities(
            ActivityRequest(token=uuid4().hex, limit=5, lease_for=LEASE, names=WORK)
        )
        await provider.release_activity(ActivityRelease(lease=leased.lease, parked=MARK))
        meter.take()

        ids, _ = await found(other, parked=True)

        assert sorted(ids) == ["i7", "i9"]
        assert meter.take().read_units <= 2 + 4 * 0.5
        assert (await found(other, parked_reasons=frozenset({"poisoned"})))[0] == []
        ended = frozenset({InstanceStatus.COMPLETED})
        assert (await found(other, parked=True, statuses=ended))[0] == []
        assert len((await found(other, parked=False, limit=100))[0]) == 298

        clock.advance(LEASE)
        for turn in await lease(provider, 300):
            await provider.commit_turn(commit_of(turn, id=uuid4().hex))
        assert (await found(other, parked=True))[0] == ["i9"]
        assert ("test#I#i7", "F") not in model.items


async def test_a_mark_that_a_commit_did_not_know_of_leaves_an_entry_for_a_while(
    open_on_model, model
):
    async with open_on_model() as provider:
        await provider.create_instance(new("alpha"))
        [turn] = await lease(provider)
        work = NewActivity(id="a", name="work", data=b"")
        await provider.commit_turn(commit_of(turn, id="c1", add=(work,), keep_for=LEASE))
        [leased] = await provider.lease_activities(
            ActivityRequest(token=uuid4().hex, limit=5, lease_for=LEASE, names=WORK)
        )
        await provider.release_activity(ActivityRelease(lease=leased.lease, parked=MARK))
        await provider.commit_turn(commit_of(turn, id="c2", remove=(), keep_for=LEASE))

        assert (await found(provider, parked=True))[0] == []
        await settle()
        assert ("test#I#alpha", "F") not in model.items


@pytest.mark.parametrize("count", [400, pytest.param(4000, marks=pytest.mark.slow)])
async def test_a_page_costs_the_same_however_much_there_is(count, open_on_model, model):
    meter = MeteringCalls(model)
    async with open_on_model() as provider, open_on_model(meter) as other:
        for number in range(count):
            await provider.create_instance(new(f"i{number}", name=f"flow{number % 50}"))
        admin = other.as_management_capability()
        meter.take()

        page = await admin.find_instances(InstanceQuery(statuses=RUNNING), limit=20)

        bill = meter.take()
        assert len(page.instances) == 20
        assert bill.read_units <= 20 + 6

        names = frozenset({"flow7"})
        page = await admin.find_instances(InstanceQuery(orchestrations=names), limit=20)
        bill = meter.take()
        # The entries tell the names: only what matches is read from the table.
        assert 8 <= len(page.instances) <= 20
        assert bill.read_units <= 20 + _finding.MOST_ENTRIES / 20


async def test_a_page_that_finds_little_comes_back_short(open_on_model, model, monkeypatch):
    monkeypatch.setattr(_finding, "MOST_LOCKS", 15)
    monkeypatch.setattr(_finding, "MOST_ENTRIES", 30)
    async with open_on_model() as provider:
        for number in range(100):
            await provider.create_instance(new(f"i{number}"))
        state = await provider.read_instance("i3")

        ids, pages = await found(provider, updated_before=state.updated_at + 1, limit=10)
        assert len(ids) == 100
        ids, pages = await found(provider, parked=False, id_prefix="i3", limit=10)
        assert len(ids) == 11
        ids, pages = await found(provider, updated_from=10**16, limit=10)
        assert ids == []
        assert 6 <= pages <= 12


async def test_a_namespace_that_version_0_1_0_opened_is_listed_without_links(open_on_model, model):
    async with open_on_model() as provider:
        await provider.create_instance(new("parent"))
        await provider.create_instance(new("child", parent=link("parent")))
        [turn] = [each for each in await lease(provider) if each.state.instance == "child"]
        await park(provider, turn)
        # As that version left them.
        for key, item in list(model.items.items()):
            if key[1][:2] in ("L#", "F"):
                model.replace(key, None)
            elif key[1] == "B":
                old = {name: item[name] for name in item if name not in ("nam", "tag")}
                model.replace(key, old)
            elif key[0].endswith("!config"):
                model.replace(key, {name: item[name] for name in item if name != "lnk"})

    async with open_on_model() as provider:
        assert (await found(provider, parent="parent"))[0] == ["child"]
        assert (await found(provider, parked=True))[0] == ["child"]
        assert (await found(provider, roots_only=True))[0] == ["parent"]
        both, _ = await found(provider, orchestrations=frozenset({"flow"}))
        assert set(both) == {"child", "parent"}


async def test_what_ended_long_ago_is_found_without_a_look_at_what_is_new(
    open_on_model, model, clock
):
    meter = MeteringCalls(model)
    async with open_on_model() as provider, open_on_model(meter) as other:
        for number in range(3):
            await provider.create_instance(new(f"old{number}"))
        for turn in await lease(provider):
            await provider.commit_turn(commit_of(turn, end=END))
        clock.advance(timedelta(days=1))
        then = clock.now()
        for number in range(200):
            await provider.create_instance(new(f"new{number}"))
        for turn in await lease(provider, 300):
            await provider.commit_turn(commit_of(turn, end=END))
        meter.take()

        ids, pages = await found(other, updated_before=then, limit=50)

        assert (sorted(ids), pages) == (["old0", "old1", "old2"], 1)
        bill = meter.take()
        assert bill.read_units <= 3 + 12 * 0.5
        assert (await found(other, created_from=then, created_before=then - 1))[0] == []


async def test_a_token_is_good_for_its_query_only(open_on_model):
    async with open_on_model() as provider:
        admin = provider.as_management_capability()
        for number in range(3):
            await provider.create_instance(new(f"i{number}"))
        page = await admin.find_instances(InstanceQuery(id_prefix="i"), limit=1)

        with pytest.raises(InvalidInput):
            await admin.find_instances(InstanceQuery(), limit=1, token=page.next_token)
        with pytest.raises(InvalidInput):
            await admin.find_instances(InstanceQuery(), limit=1, token="made up")  # noqa: S106 # no secret


async def test_a_page_with_large_outputs_ends_early(open_on_model):
    async with open_on_model() as provider:
        for number in range(4):
            await provider.create_instance(new(f"i{number}"))
        for turn in await lease(provider):
            end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"x" * 2_000_000)
            await provider.commit_turn(commit_of(turn, end=end))

        admin = provider.as_management_capability()
        page = await admin.find_instances(InstanceQuery(), limit=10)

        assert len(page.instances) == 2
        assert len((await found(provider))[0]) == 4
