"""A transaction of the application holds an instance and stays open; calls for the others go on.

The calls that need its row are made once it is free. No test depends on how long that takes.
"""

import asyncio
from contextlib import contextmanager
from datetime import timedelta

import perdure
import pytest
from perdure import BlockingClient
from perdure.contract import Serves, TurnLease, TurnRelease, TurnRequest
from perdure.errors import StorageUnavailable
from perdure.providers.loader import open_provider
from perdure_conformance.samples import event, new_instance
from perdure_postgres import _held, bind
from perdure_postgres._errors import RowsHeld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
LEASE = timedelta(seconds=30)
OTHERS = [f"other-{number}" for number in range(10)]
LEASED_UNTIL = """
SELECT t.held_until FROM perdure.turns AS t JOIN perdure.instances AS i ON i.number = t.number
WHERE i.id = %s AND i.namespace = (SELECT number FROM perdure.namespaces WHERE name = %s)
"""


@pytest.fixture
def name(url):
    return url.rpartition("=")[2]


@pytest.fixture
async def provider(url, clock):
    async with open_provider(url, clock=clock) as provider:
        for instance in ("held", *OTHERS):
            await provider.create_instance(new_instance(instance))
        yield provider


@pytest.fixture
def met(provider):
    """The operations that met a held row."""
    found = []
    fetch = provider.database.fetch

    async def noted(operation, statement, parameters, *, repeatable):
        try:
            return await fetch(operation, statement, parameters, repeatable=repeatable)
        except RowsHeld:
            found.append(operation)
            raise

    provider.database.fetch = noted
    return found


@contextmanager
def held(connect, url, name, *, instance="held"):
    """A transaction of the application, which has raised an event to the instance."""
    with connect(url) as connection, connection.transaction():
        BlockingClient(bind(connection, namespace=name)).raise_event(instance, "from-inside")
        yield


async def lease(provider, limit=20):
    request = TurnRequest(
        token=f"token-{limit}",
        limit=limit,
        lease_for=LEASE,
        serves=Serves(orchestrations={"flow": frozenset()}),
    )
    return {turn.state.instance: turn for turn in await provider.lease_turns(request)}


async def test_writes_for_other_instances_go_on_while_a_transaction_holds_one(
    url, name, connect, provider, met
):
    with held(connect, url, name):
        # All at once, so that they are one group.
        writes = {
            instance: asyncio.ensure_future(provider.send([event("one", instance)]))
            for instance in ("held", *OTHERS)
        }
        waiting = writes.pop("held")
        await asyncio.gather(*writes.values())
        again = asyncio.ensure_future(provider.send([event("two", "held")]))
        await asyncio.gather(*(provider.send([event("two", each)]) for each in OTHERS))

        assert not waiting.done()
        assert not again.done()
        # The row is met by one group; what comes later waits for it without keeping others.
        assert met == ["send"]
    await asyncio.gather(waiting, again)

    turns = await lease(provider)
    ids = [message.id for message in turns["held"].messages]
    assert len(ids) == 4
    assert {"one", "two"} < set(ids)


async def test_leases_of_other_instances_are_extended_while_a_transaction_holds_one(
    url, name, connect, provider, clock
):
    turns = await lease(provider)
    leases = [TurnLease(instance=each, token=turn.token) for each, turn in turns.items()]
    ends = clock.now() + 30_000_000
    clock.advance(timedelta(seconds=20))

    with connect(url) as watching:

        def until(instance):
            return watching.execute(LEASED_UNTIL, (instance, name)).fetchone()[0]

        with held(connect, url, name):
            assert await provider.renew_turns(leases, lease_for=LEASE) == frozenset()
            extended = clock.now() + 30_000_000
            assert {until(each) for each in OTHERS} == {extended}
            assert until("held") == ends
        while until("held") != extended:  # noqa: ASYNC110 # the server tells nothing
            await asyncio.sleep(0.01)


async def test_a_release_waits_for_a_held_row_without_a_connection(url, name, connect, clock):
    async with open_provider(f"{url}&connections=1", clock=clock) as provider:
        for instance in ("held", "other"):
            await provider.create_instance(new_instance(instance))
        turns = await lease(provider)
        release = {
            each: TurnRelease(lease=TurnLease(instance=each, token=turn.token), counted=False)
            for each, turn in turns.items()
        }
        with held(connect, url, name):
            waiting = asyncio.ensure_future(provider.release_turn(release["held"]))
            await provider.release_turn(release["other"])
            assert not waiting.done()
        await waiting

        assert set(await lease(provider, limit=2)) == {"held", "other"}


async def test_work_of_other_instances_is_found_while_a_transaction_holds_one(
    url, name, connect, provider, met, monkeypatch
):
    monkeypatch.setattr(_held, "_PASSED_OVER", 3600)
    with held(connect, url, name):
        found = set(await lease(provider))
        more = set(await lease(provider, limit=3))

        assert (found, more) == (set(OTHERS), set())
        # The second look does not wait for what the first one could not have.
        assert met == ["lease_turns"]
    assert "held" in await lease(provider, limit=4)


async def test_writes_go_on_while_an_id_is_in_a_transaction_that_is_not_committed(
    url, name, connect, provider
):
    with connect(url) as connection:
        with connection.transaction():
            client = BlockingClient(bind(connection, namespace=name))
            client.start_orchestration("coming", "flow")
            waiting = asyncio.ensure_future(provider.send([event("early", "coming")]))
            await asyncio.gather(*(provider.send([event("one", each)]) for each in OTHERS))

            assert not waiting.done()
        await waiting

    turns = await lease(provider)
    assert len(turns["coming"].messages) == 2


async def test_a_call_gives_up_after_the_time_that_a_call_may_take(url, name, connect, clock):
    async with open_provider(url, clock=clock) as creating:
        # Not under the short timeout below, which a busy machine needs for a call that succeeds.
        await creating.create_instance(new_instance("held"))
    async with open_provider(f"{url}&call_timeout=0.4", clock=clock) as provider:
        with (
            held(connect, url, name),
            pytest.raises(
                StorageUnavailable, match="another transaction .* holds what send changes"
            ),
        ):
            await provider.send([event("one", "held")])


async def test_a_runtime_goes_on_while_a_transaction_holds_an_instance(url, name, connect):
    app = perdure.Registry()

    @app.activity
    async def double(number: int) -> int:
        return 2 * number

    @app.orchestration
    async def doubled(ctx: perdure.OrchestrationContext, number: int) -> int:
        return await ctx.schedule_activity(double, number) + await ctx.schedule_wait("more", int)

    async with perdure.open_provider(url) as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        kept = await client.start_orchestration("held", doubled, 1)
        with held(connect, url, name):
            # An event for it waits, and so does its turn.
            raising = asyncio.ensure_future(client.raise_event("held", "more", "1"))
            handles = [await client.start_orchestration(each, doubled, 2) for each in OTHERS]
            for each in OTHERS:
                await client.raise_event(each, "more", "2")
            sums = await asyncio.gather(*(handle.result(timeout=30) for handle in handles))
            assert sums == [6] * len(OTHERS)
        await raising

        assert await kept.result(timeout=30) == 3
