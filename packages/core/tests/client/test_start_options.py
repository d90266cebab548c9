"""The options that every start takes, and the headers that hooks add."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import perdure
import pytest
from perdure import BlockingClient, CapabilityMissing, Client, InstanceAlreadyExists, InvalidInput
from perdure.clock import to_instant
from perdure.contract import DelegatingProvider, NewInstance
from perdure.errors import InvalidDuration
from perdure.model.wire import StartData, decode_start
from perdure.records.limits import ENGINE_WITH_RECOVERY, FIRST_ENGINE, LISTING

app = perdure.Registry()


@app.orchestration
async def double(ctx: perdure.OrchestrationContext, number: int) -> int:
    return 2 * number


class Recording(DelegatingProvider):
    """Keeps the new instances, and says that it has every capability."""

    def __init__(self, inner: perdure.contract.Provider) -> None:
        super().__init__(inner)
        self.capabilities = frozenset({LISTING})
        self.new: list[NewInstance] = []

    async def create_instance(self, new):
        self.new.append(new)

    def start(self) -> StartData:
        return decode_start(self.new[-1].start.data)


@pytest.fixture
def recording(provider) -> Recording:
    return Recording(provider)


STARTS = {
    "start_orchestration": lambda client, **options: client.start_orchestration(
        "i", "double", "1", **options
    ),
    "start_orchestration_versioned": lambda client, **options: client.start_orchestration_versioned(
        "i", "double", "1.0.0", "1", **options
    ),
    "start_orchestration_typed": lambda client, **options: client.start_orchestration_typed(
        "i", "double", 1, **options
    ),
    "start_orchestration_versioned_typed": (
        lambda client, **options: client.start_orchestration_versioned_typed(
            "i", "double", "1.0.0", 1, **options
        )
    ),
    "start": lambda client, **options: client.start("i", double, **options)(1),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
async def test_every_start_takes_every_option(recording, start):
    moment = datetime(2031, 1, 1, tzinfo=UTC)
    await start(
        Client(recording),
        start_at=moment,
        labels={"tenant": "acme"},
        headers={"trace": "42"},
        if_exists="return",
    )

    assert recording.new[-1].labels == {"tenant": "acme"}
    assert recording.new[-1].engine == ENGINE_WITH_RECOVERY
    assert recording.start() == StartData(
        input="1", start_at=to_instant(moment), headers={"trace": "42"}
    )


async def test_without_options_an_instance_begins_as_before(recording):
    await Client(recording).start_orchestration("i", "double", "1")

    assert recording.new[-1].engine == FIRST_ENGINE
    assert recording.start() == StartData(input="1")


async def test_a_delay_counts_from_the_call_and_an_instant_may_be_of_any_zone(recording, clock):
    client = Client(recording)
    await client.start_orchestration("i", "double", "1", delay=90)
    assert recording.start().start_at == clock.now() + 90_000_000

    moment = datetime(2031, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    await client.start_orchestration("j", "double", "1", start_at=moment)
    assert recording.start().start_at == to_instant(datetime(2031, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"if_exists": "ignore"}, "'raise', 'return' or 'replace_ended'"),
        ({"if_exists": None}, "if_exists None"),
        ({"start_at": datetime(2031, 1, 1)}, "aware datetime"),  # what is refused
        ({"start_at": "soon"}, "aware datetime"),
        ({"start_at": datetime(2031, 1, 1, tzinfo=UTC), "delay": 1}, "give one of them"),
        ({"labels": ["tenant"]}, "labels .* is no mapping"),
        ({"labels": {"tenant": 7}}, "7, which is no text"),
        ({"labels": {"": "x"}}, "label key '' has 0 bytes"),
        ({"labels": {"x" * 65: "x"}}, "has 65 bytes"),
        ({"labels": {"x": "ü" * 129}}, "258 bytes; shorten it to 256"),
        ({"labels": {str(n): "x" for n in range(9)}}, "9 entries; pass 8"),
        ({"labels": {"x": "\ud800"}}, "surrogates"),
        ({"headers": {str(n): "x" for n in range(17)}}, "17 entries"),
        ({"headers": {"x": "x" * 8192}}, "8193 bytes"),
        ({"headers": {"x": None}}, "None, which is no text"),
    ],
)
async def test_an_option_that_does_not_fit_is_refused_and_nothing_is_stored(
    recording, options, words
):
    with pytest.raises(InvalidInput, match=words):
        await Client(recording).start_orchestration("i", "double", "1", **options)

    assert recording.new == []


async def test_a_negative_delay_is_refused(recording):
    with pytest.raises(InvalidDuration, match="delay -1 is out of range"):
        await Client(recording).start_orchestration("i", "double", "1", delay=-1)


async def test_a_misspelt_option_is_refused_with_the_right_one(recording):
    with pytest.raises(TypeError, match="no option 'lables'; did you mean 'labels'"):
        await Client(recording).start_orchestration("i", "double", "1", lables={})


async def test_labels_need_a_provider_that_lists_by_them(provider):
    plain = DelegatingProvider(provider)
    plain.capabilities = frozenset()
    with pytest.raises(CapabilityMissing, match="labels are not available"):
        await Client(plain).start_orchestration("i", "double", "1", labels={"a": "b"})
    assert await provider.read_instance("i") is None


async def test_a_start_may_return_the_instance_that_has_the_id(client):
    await client.start_orchestration("i", double, 1)
    handle = await client.start_orchestration("i", double, 2, if_exists="return")

    assert handle.instance == "i"
    with pytest.raises(InstanceAlreadyExists):
        await client.start_orchestration("i", double, 3, if_exists="raise")


async def test_a_handle_of_an_id_has_the_type_of_the_function(client, turns):
    handle = client.get_handle("i", double)
    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "4")

    assert await handle.result() == 4
    assert await client.get_handle("i").result() == 4
    with pytest.raises(InvalidInput):
        client.get_handle("")


class Tracing:
    """A plugin that adds a trace, and a tenant of its own."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant

    @perdure.hookimpl
    def perdure_headers(self, instance, orchestration):
        return {"trace": f"{orchestration} {instance}", "tenant": self.tenant}


async def test_hooks_add_headers_and_the_callers_own_count_first(recording):
    client = Client(recording, plugins=[Tracing("first"), Tracing("second")])
    await client.start_orchestration("i", "double", "1")
    assert recording.start().headers == {"trace": "double i", "tenant": "first"}

    await client.start_orchestration("j", "double", "1", headers={"tenant": "own"})
    assert recording.start().headers == {"trace": "double j", "tenant": "own"}


async def test_headers_of_a_hook_that_do_not_fit_are_refused(recording):
    client = Client(recording, plugins=[Tracing("x" * 9000)])
    with pytest.raises(InvalidInput, match="the answer of the hook perdure_headers has 2 entries"):
        await client.start_orchestration("i", "double", "1")
    assert recording.new == []


def test_a_blocking_client_gives_its_plugins_to_its_starts():
    with BlockingClient.open("memory://", plugins=[Tracing("x" * 9000)]) as client:
        with pytest.raises(InvalidInput, match="perdure_headers"):
            client.start_orchestration("i", "double", "1")
        assert client.get_handle("i", double).instance == "i"
