"""Starting instances: by name and by function, as text and as values, refused and repeated."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from perdure import Client, OrchestrationContext, Registry, Running
from perdure.contract import DelegatingProvider, MessageKind
from perdure.errors import (
    ForbiddenInOrchestration,
    InstanceAlreadyExists,
    InvalidIdentifier,
    InvalidInput,
    InvalidPayload,
    InvalidVersion,
    NotRegistered,
    PayloadTooLarge,
    StorageFailed,
    StorageUnavailable,
)
from perdure.model.guards import OrchestrationLoopMarker
from perdure.model.payload import LARGEST_PAYLOAD
from perdure.model.wire import decode_start
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from perdure.contract import NewInstance

app = Registry()


class Order(BaseModel):
    """An input with a rule."""

    number: int = Field(gt=0)
    customer: str = Field(default="none", alias="customerName")


@dataclass
class Receipt:
    """A result."""

    total: float


@app.orchestration(name="Sum", version="1.0.0")
async def process_order(ctx: OrchestrationContext, order: Order) -> Receipt:
    return Receipt(total=order.number)


@app.orchestration(name="Greet")
async def greet(ctx: OrchestrationContext) -> str:
    return "hello"


@app.orchestration(name="Other")
async def half(ctx: OrchestrationContext, number: float) -> float:
    return number / 2


@app.activity
async def charge(order: Order) -> None:
    return None


class Losing(DelegatingProvider):
    """Carries the first calls out, and loses their answers."""

    def __init__(self, inner, *, lost=1, error=StorageUnavailable, before=False):
        super().__init__(inner)
        self.left = lost
        self.error = error
        self.before = before
        self.created: list[NewInstance] = []

    async def create_instance(self, new):
        self.created.append(new)
        if not self.before:
            await super().create_instance(new)
        if self.left:
            self.left -= 1
            raise self.error("the answer was lost; try again", operation="create_instance")
        if self.before:
            await super().create_instance(new)


async def started_input(turns, instance):
    turn = await turns.lease(instance)
    return decode_start(turn.messages[0].data).input, turn


async def test_a_start_by_name_stores_the_text_as_it_is(client, turns):
    handle = await client.start_orchestration("i", "Sum", '{ "number":  1 }')

    text, turn = await started_input(turns, "i")
    assert handle.instance == "i"
    assert text == '{ "number":  1 }'
    assert turn.state.name == "Sum"
    assert turn.state.version is None
    assert turn.messages[0].kind is MessageKind.START
    assert turn.messages[0].incarnation == turn.state.incarnation
    assert turn.messages[0].execution is None


async def test_a_start_is_running_before_anything_ran(client):
    await client.start_orchestration("i", "Sum")

    assert await client.get_orchestration_status("i") == Running()


async def test_no_input_is_null(client, turns):
    await client.start_orchestration("i", "Sum")

    assert (await started_input(turns, "i"))[0] == "null"


async def test_a_start_by_function_encodes_by_the_annotation(client, turns):
    await client.start_orchestration("i", process_order, Order(number=3, customerName="Ada"))

    text, turn = await started_input(turns, "i")
    assert text == '{"number":3,"customer":"Ada"}'
    assert turn.state.name == "Sum"


async def test_a_function_reference_is_a_name_and_pins_no_version(client, turns):
    await client.start_orchestration("i", process_order, Order(number=3))

    assert (await turns.lease("i")).state.version is None


async def test_a_versioned_start_pins_exactly_that_version(client, turns):
    await client.start_orchestration("plain", "Sum", "{}", version="2.0.0")
    await client.start_orchestration_versioned("text", "Sum", "2.0.0", "{}")
    await client.start_orchestration_versioned("function", greet, "2.0.0")
    await client.start_orchestration_versioned_typed("value", "Sum", "2.0.0", 1)
    await client.start("call", greet, version="2.0.0")()

    for instance in ("plain", "text", "function", "value", "call"):
        assert (await turns.lease(instance)).state.version == "2.0.0"


async def test_a_typed_start_by_name_encodes_the_value(client, turns):
    await client.start_orchestration_typed("i", "Sum", Order(number=3))

    assert (await started_input(turns, "i"))[0] == '{"number":3,"customer":"none"}'


@pytest.mark.parametrize("version", ["1", "v1.0.0", "", "01.0.0", 1])
async def test_a_version_that_is_none_is_refused(client, version):
    with pytest.raises(InvalidVersion, match="semantic version"):
        await client.start_orchestration("i", "Sum", "null", version=version)
    with pytest.raises(InvalidVersion, match="semantic version"):
        await client.start_orchestration_versioned("i", "Sum", version)

    assert len(await client.list_all_instances()) == 0


async def test_a_version_and_an_input_that_are_swapped_are_told_before_anything_is_stored(client):
    with pytest.raises(
        InvalidVersion, match="the order is instance, orchestration, version, input"
    ):
        await client.start_orchestration_versioned("i", "Sum", '"2.0.0"', "1.0.0")
    with pytest.raises(InvalidVersion, match="the order is"):
        await client.start_orchestration_versioned_typed("i", "Sum", "an input", "1.0.0")
    with pytest.raises(InvalidPayload, match="pass version='1.0.0' for a version"):
        await client.start_orchestration("i", "Sum", "1.0.0")

    assert len(await client.list_all_instances()) == 0


async def test_a_second_start_under_the_id_is_refused_and_changes_nothing(client, turns):
    await client.start_orchestration("i", "Sum", "1")
    with pytest.raises(InstanceAlreadyExists, match="'i'"):
        await client.start_orchestration("i", "Sum", "1")
    with pytest.raises(InstanceAlreadyExists):
        await client.start_orchestration("i", "Other", "2", version="1.0.0")

    text, turn = await started_input(turns, "i")
    assert text == "1"
    assert turn.state.name == "Sum"
    assert len(turn.messages) == 1


async def test_an_id_stays_in_use_after_the_end(client, turns):
    await client.start_orchestration("i", "Sum", "1")
    await turns.complete("i", '"done"')

    with pytest.raises(InstanceAlreadyExists):
        await client.start_orchestration("i", "Sum", "1")
    assert (await client.get_orchestration_status("i")).output == '"done"'


@pytest.mark.parametrize(
    "identifier", ["", "x" * 513, "ü" * 257, "a\nb", "nul\x00", "\udcff", 7, None]
)
async def test_an_identifier_against_the_rule_is_refused(client, identifier):
    with pytest.raises(InvalidIdentifier, match="instance id"):
        await client.start_orchestration(identifier, "Sum")
    if not isinstance(identifier, int | None):
        with pytest.raises(InvalidIdentifier, match="orchestration name"):
            await client.start_orchestration("i", identifier)
        with pytest.raises(InvalidIdentifier, match="event name"):
            await client.raise_event("i", identifier)

    assert len(await client.list_all_instances()) == 0


@pytest.mark.parametrize("identifier", ["x" * 512, "ü" * 256, "a#b/c'd\"e%f::1 :", "日本語", " "])
async def test_an_identifier_within_the_rule_names_one_instance(client, identifier):
    await client.start_orchestration(identifier, "Sum")
    await client.start_orchestration("other", "Sum")

    assert sorted(await client.list_all_instances()) == sorted([identifier, "other"])
    assert (await client.get_instance_info(identifier)).instance == identifier


@pytest.mark.parametrize("text", ["hello", "", "{", "NaN", "[1,]", "'a'", '"\\ud800"', '"\udcff"'])
async def test_text_that_is_not_json_is_refused(client, text):
    with pytest.raises(InvalidPayload, match="input of 'Sum'"):
        await client.start_orchestration("i", "Sum", text)
    with pytest.raises(InvalidPayload, match="data of event 'go'"):
        await client.raise_event("i", "go", text)

    assert len(await client.list_all_instances()) == 0


async def test_a_value_where_text_belongs_is_refused_with_the_method_to_use(client):
    with pytest.raises(InvalidPayload, match="_typed"):
        await client.start_orchestration("i", "Sum", {"number": 1})


@pytest.mark.parametrize("value", [object(), {1}.__iter__, b"\xff", float("nan")])
async def test_a_value_that_cannot_be_encoded_is_refused_by_its_type(client, value):
    with pytest.raises(InvalidInput, match=repr(type(value).__name__)):
        await client.start_orchestration_typed("i", "Sum", value)

    assert len(await client.list_all_instances()) == 0


@pytest.mark.parametrize("order", [None, {"number": 1}, Order.model_construct(number=-1)])
async def test_a_value_that_the_function_would_refuse_is_refused_first(client, order):
    with pytest.raises(InvalidPayload, match="input of orchestration 'Sum'"):
        await client.start_orchestration("i", process_order, order)

    assert len(await client.list_all_instances()) == 0


async def test_an_input_for_a_function_that_takes_none_is_refused(client):
    with pytest.raises(InvalidPayload, match="takes no input, and 1 was passed"):
        await client.start_orchestration("i", greet, 1)


async def test_a_function_that_is_not_registered_is_refused(client):
    async def stranger(ctx: OrchestrationContext) -> None: ...

    with pytest.raises(NotRegistered, match="decorate it"):
        await client.start_orchestration("i", stranger)
    with pytest.raises(NotRegistered, match="'charge' is registered as an activity"):
        await client.start_orchestration("i", charge, Order(number=1))


@pytest.mark.slow
async def test_the_largest_payload_is_stored_whole_and_one_byte_more_is_refused(client, turns):
    largest = '"' + "x" * (LARGEST_PAYLOAD - 2) + '"'
    await client.start_orchestration("i", "Sum", largest)
    with pytest.raises(PayloadTooLarge, match=str(LARGEST_PAYLOAD)):
        await client.start_orchestration("j", "Sum", largest + " ")
    with pytest.raises(PayloadTooLarge, match="event"):
        await client.raise_event("i", "go", largest + " ")

    assert (await started_input(turns, "i"))[0] == largest
    assert list(await client.list_all_instances()) == ["i"]


async def test_a_lost_answer_is_asked_again_as_the_same_start(provider, turns):
    losing = Losing(provider, lost=2)
    task = asyncio.ensure_future(Client(losing).start_orchestration("i", "Sum", "1"))
    await turns.pass_time(task)

    assert len({new.incarnation for new in losing.created}) == 1
    assert len(losing.created) == 3
    assert len((await turns.lease("i")).messages) == 1


async def test_after_three_tries_the_trouble_reaches_the_caller(provider, turns):
    losing = Losing(provider, lost=3, before=True)
    task = asyncio.ensure_future(Client(losing).start_orchestration("i", "Sum", "1"))

    with pytest.raises(StorageUnavailable):
        await turns.pass_time(task)
    assert len(losing.created) == 3


async def test_what_is_not_retryable_is_tried_once(provider):
    losing = Losing(provider, lost=1, error=StorageFailed, before=True)

    with pytest.raises(StorageFailed):
        await Client(losing).start_orchestration("i", "Sum")
    assert len(losing.created) == 1


async def test_an_exception_that_is_not_the_contract_s_is_left_alone(provider):
    class Broken(DelegatingProvider):
        async def create_instance(self, new):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Client(Broken(provider)).start_orchestration("i", "Sum")


async def test_a_start_by_call_encodes_the_arguments_by_their_names(client, turns):
    @Registry().orchestration(name="Sum")
    async def pay(ctx: OrchestrationContext, order: Order, *, cents: int = 500) -> Receipt:
        return Receipt(total=cents)

    handle = await client.start("i", pay, version="2.0.0")(Order(number=3), cents=7)

    text, turn = await started_input(turns, "i")
    assert text == '{"order":{"number":3,"customer":"none"},"cents":7}'
    assert (handle.instance, turn.state.name, turn.state.version) == ("i", "Sum", "2.0.0")
    with pytest.raises(NotRegistered, match="'charge' is registered as an activity"):
        await client.start("j", charge)(Order(number=1))


async def test_a_start_rings_the_runtimes_of_this_process(client, provider):
    with provider.notifier.subscribe_turns() as subscription:
        await client.start_orchestration("i", "Sum")

        async with asyncio.timeout(60):
            await subscription.wait()


async def test_a_client_of_what_is_no_provider_is_refused():
    with pytest.raises(InvalidInput, match="open_provider"):
        Client("memory://")  # type: ignore[arg-type]


class MarkedLoop(asyncio.SelectorEventLoop, OrchestrationLoopMarker):
    """An event loop that says of itself that orchestrations run on it."""


CALLS: dict[str, Any] = {
    "start_orchestration": ("i", "Sum"),
    "start_orchestration_versioned": ("i", "Sum", "1.0.0"),
    "start_orchestration_typed": ("i", "Sum"),
    "start_orchestration_versioned_typed": ("i", "Sum", "1.0.0"),
    "raise_event": ("i", "go"),
    "cancel_instance": ("i", "why"),
    "get_orchestration_status": ("i",),
    "wait_for_orchestration": ("i", 1),
    "wait_for_orchestration_typed": ("i", int, 1),
    "list_all_instances": (),
    "list_instances_by_status": ("Running",),
    "get_instance_info": ("i",),
    "get_execution_info": ("i", 1),
    "list_executions": ("i",),
    "read_execution_history": ("i", 1),
    "get_system_metrics": (),
    "get_queue_depths": (),
}


@pytest.mark.parametrize("name", CALLS)
def test_inside_an_orchestration_every_call_is_refused(name):
    from perdure_memory import MemoryProvider

    client = Client(MemoryProvider())
    with (
        asyncio.Runner(loop_factory=MarkedLoop) as runner,
        pytest.raises(ForbiddenInOrchestration, match="inside an orchestration"),
    ):
        runner.run(getattr(client, name)(*CALLS[name]))


def test_inside_an_orchestration_a_start_by_call_is_refused():
    from perdure_memory import MemoryProvider

    client = Client(MemoryProvider())
    with (
        asyncio.Runner(loop_factory=MarkedLoop) as runner,
        pytest.raises(ForbiddenInOrchestration, match="inside an orchestration"),
    ):
        runner.run(client.start("i", greet)())


async def test_a_timedelta_is_no_input_of_a_float(client):
    with pytest.raises(InvalidPayload, match="timedelta"):
        await client.start_orchestration("i", half, timedelta(1))
