"""What clients on a connection of the application do, whatever the database, as a pytest class.

    class TestBoundClients(BoundClients):
        @pytest.fixture
        def application(self, connection):
            return Application(bind=partial(bind, connection), commit=connection.commit)

How connections of each driver are bound, and what a provider says of a connection that cannot be, is
tested by its package. The tests are coroutines: they need `pytest-asyncio` in its mode `auto`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from perdure import (
    BlockingClient,
    Client,
    ClientUnusable,
    InstanceAlreadyExists,
    InvalidInput,
    Runtime,
    codecs,
)
from perdure.contract import InstanceState, InstanceWork, Provider

from perdure_conformance.expect import ClauseBroken, expect, expect_equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A connection of the application, in a transaction."""

    bind: Callable[..., Provider]
    """Binds the connection, with options of the provider's `bind`."""
    commit: Callable[[], None]
    """Commits the transaction."""


class BoundClients:
    """Subclass it, and give the fixtures `application` and `provider`."""

    @pytest.fixture
    def application(self) -> Application:
        """A connection that sees what `provider`, an ordinary provider object, has committed."""
        raise NotImplementedError(
            f"{type(self).__name__} has no fixture application; define one that returns an Application"
        )

    async def test_an_id_in_use_is_refused_and_the_transaction_goes_on(
        self, provider: Provider, application: Application
    ) -> None:
        await Client(provider).start_orchestration("order-1", "process")
        client = BlockingClient(application.bind())

        with pytest.raises(InstanceAlreadyExists):
            client.start_orchestration("order-1", "process")
        client.start_orchestration("order-1", "process", if_exists="return")
        client.start_orchestration("order-2", "process", labels={"customer": "ada"})
        application.commit()

        expect_equal(
            (await _state(provider, "order-2")).labels, {"customer": "ada"}, "labels of order-2"
        )

    async def test_an_ended_instance_is_replaced_when_the_application_commits(
        self, provider: Provider, application: Application
    ) -> None:
        ordinary = Client(provider)
        await ordinary.start_orchestration("nightly", "process")
        await ordinary.terminate_instance("nightly")
        before = await _state(provider, "nightly")

        client = BlockingClient(application.bind())
        client.start_orchestration("nightly", "process", if_exists="replace_ended")

        expect_equal(await _state(provider, "nightly"), before, "the instance before the commit")
        application.commit()
        after = await _state(provider, "nightly")
        expect(after.incarnation != before.incarnation, "the instance was not replaced")

    async def test_an_event_for_an_id_that_is_started_later_waits_for_it(
        self, provider: Provider, application: Application
    ) -> None:
        client = BlockingClient(application.bind())

        arrival = client.raise_event("order-1", "paid", "500", event_id="one")
        client.raise_event("order-1", "paid", "500", event_id="one")
        application.commit()
        await Client(provider).start_orchestration("order-1", "process")

        expect_equal(arrival.value, "early", "arrival of the event")
        kinds = [message.kind.value for message in (await _work(provider)).messages]
        expect_equal(kinds, ["start", "event"], "messages of order-1")

    async def test_a_codec_encodes_what_a_bound_client_starts(
        self, provider: Provider, application: Application
    ) -> None:
        client = BlockingClient(application.bind(codec=codecs.Zlib()))
        client.start_orchestration("order-1", "process", json.dumps(300_000 * "a"))
        application.commit()

        size = (await _work(provider)).messages[0].size
        expect(size < 10_000, f"the start message has {size} bytes")

    async def test_what_waits_or_works_needs_a_provider_of_its_own(
        self,
        provider: Provider,  # its tables are there
        application: Application,
    ) -> None:
        bound = application.bind()
        handle = BlockingClient(bound).start_orchestration("order-1", "process")

        with pytest.raises(
            ClientUnusable, match="commit it, and wait with a client of open_provider"
        ):
            handle.result(timeout=1)
        with pytest.raises(ClientUnusable, match="on which no runtime can work"):
            async with Runtime(bound):
                pass

    def test_a_namespace_without_a_name_is_refused(self, application: Application) -> None:
        with pytest.raises(InvalidInput, match="namespace is ''"):
            application.bind(namespace="")


async def _state(provider: Provider, instance: str) -> InstanceState:
    state = await provider.read_instance(instance)
    if state is None:
        raise ClauseBroken(f"instance {instance!r} is not there")
    return state


async def _work(provider: Provider) -> InstanceWork:
    admin = provider.as_management_capability()
    work = None if admin is None else await admin.read_work("order-1")
    if work is None:
        raise ClauseBroken("what is queued for 'order-1' cannot be read")
    return work
