"""What a search costs, and what a deletion leaves in the store."""

import gc

import pytest
from perdure.contract import ExecutionEnd, InstanceQuery, InstanceStatus, ParkedMark, TurnRelease
from perdure_conformance.bench import held_by
from perdure_memory._instances import Instance

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")


@pytest.fixture
def looked_at(monkeypatch):
    """The ids of the instances that searches have looked at."""
    seen = []
    accepts = InstanceQuery.accepts

    def noted(query, state):
        seen.append(state.instance)
        return accepts(query, state)

    monkeypatch.setattr(InstanceQuery, "accepts", noted)
    return seen


async def search(bench, query, **options):
    admin = bench.provider.as_management_capability()
    return await admin.find_instances(query, **{"limit": 10, **options})


async def test_a_page_looks_at_a_thousand_instances_and_leads_on(bench, looked_at):
    for number in range(1500):
        await bench.create(str(number))
    rare = InstanceQuery(id_prefix="7", created_from=0)

    first = await search(bench, rare, limit=1000)
    assert (len(looked_at), first.next_token is None) == (1000, False)
    second = await search(bench, rare, limit=1000, token=first.next_token)

    assert (len(looked_at), second.next_token) == (1500, None)
    found = [state.instance for state in (*first.instances, *second.instances)]
    assert found == [str(n) for n in reversed(range(1500)) if str(n).startswith("7")]


@pytest.mark.parametrize(
    "query",
    [
        InstanceQuery(orchestrations=frozenset({"rare"})),
        InstanceQuery(labels={"tenant": "acme"}),
        InstanceQuery(statuses=frozenset({InstanceStatus.COMPLETED})),
        InstanceQuery(parked=True),
        InstanceQuery(parked_reasons=frozenset({"raised", "unregistered"})),
    ],
)
async def test_a_search_looks_at_the_smallest_group_that_its_query_names(bench, looked_at, query):
    await bench.create("one", name="rare", labels={"tenant": "acme"})
    turn = await bench.lease_one(names=("rare",))
    mark = ParkedMark(reason="raised", details="details")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
    await bench.create("done", name="other")
    await bench.commit(await bench.lease_one(names=("other",)), end=COMPLETED)
    for number in range(20):
        await bench.create(str(number))

    page = await search(bench, query)

    assert [state.instance for state in page.instances] == looked_at
    assert len(looked_at) == 1


async def test_a_deleted_instance_leaves_nothing_in_the_store(bench):
    await bench.create("kept")
    store = bench.provider._store
    before = len(store.created), len(store.listing.all), set(store.listing._groups)
    await bench.create("a", name="deleted", labels={"tenant": "acme"})
    turn = await bench.lease_one(names=("deleted",))
    await bench.commit(turn, events=(b"1",), values={"key": b"value"}, end=COMPLETED)

    await bench.provider.delete_instance("a", incarnation="first")
    gc.collect()

    assert not any(
        isinstance(each, Instance) and each.state.name == "deleted" for each in gc.get_objects()
    )
    assert (len(store.created), len(store.listing.all), set(store.listing._groups)) == before
    assert (store.execution_count, store.event_count) == (1, 0)
