"""Documents without their payloads: what they tell, and how far they can be replayed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import perdure
import pytest
from perdure import HistoryDocument, OrchestrationContext, Registry
from perdure.model.hidden_payload import Payloads
from perdure.testing import check_history
from perdure.testing.replay_report import CheckedExecution
from pydantic import BaseModel

Flow = Callable[[OrchestrationContext, int], Awaitable[object]]
HIDING: list[Payloads] = ["hash", "none"]


class Receipt(BaseModel):
    number: str


def deployed(flow: Flow) -> Registry:
    app = Registry()
    app.orchestration(name="process")(flow)

    @app.activity
    async def charge(cents: int) -> Receipt:
        return Receipt(number="secret-1")

    @app.activity
    async def ship(cents: int, receipt: Receipt) -> None: ...

    @app.activity
    async def fail(reason: str) -> None:
        raise perdure.ApplicationError("secret-2", details={"card": "secret-3"})

    return app


async def document_of(flow: Flow, payloads: Payloads) -> HistoryDocument:
    async with perdure.open_provider("memory://") as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, deployed(flow)):
            handle = await client.start_orchestration("order-1", "process", "31337")
            await handle.wait(timeout=10)
        document = await client.export_history("order-1", payloads=payloads)
    return HistoryDocument.from_json(document.to_json())


def only(document: HistoryDocument, flow: Flow, *, strict: bool = False) -> CheckedExecution:
    (checked,) = check_history(document, deployed(flow), strict=strict).executions
    return checked


async def passes_on(ctx: OrchestrationContext, cents: int) -> Receipt:
    receipt = await ctx.schedule_activity("charge", cents, result_type=Receipt)
    await ctx.activity(ship)(cents, receipt)
    await ctx.schedule_timer(0.001)
    return receipt


async def ship(cents: int, receipt: Receipt) -> None: ...


shipping = Registry()
shipping.activity(ship)


async def fails(ctx: OrchestrationContext, cents: int) -> str:
    try:
        await ctx.schedule_activity("fail", "secret-4")
    except perdure.ActivityFailed as error:
        return error.type_name
    return ""


@pytest.mark.parametrize("payloads", HIDING)
@pytest.mark.parametrize("flow", [passes_on, fails])
async def test_a_document_without_payloads_has_none_of_their_text(
    flow: Flow, payloads: Payloads
) -> None:
    document = await document_of(flow, payloads)
    text = document.to_json()

    assert document.payloads == payloads
    assert "secret" not in text
    assert "31337" not in text


@pytest.mark.parametrize("payloads", ["full", *HIDING])
async def test_code_that_passes_payloads_on_is_replayed_to_the_end(payloads: Payloads) -> None:
    document = await document_of(passes_on, payloads)

    checked = only(document, passes_on, strict=True)

    assert (checked.verdict, checked.note) == ("agrees", "")
    assert checked.differences == ()


@pytest.mark.parametrize("payloads", HIDING)
async def test_a_failure_that_the_code_handles_by_its_kind_is_replayed(payloads: Payloads) -> None:
    document = await document_of(fails, payloads)

    checked = only(document, fails, strict=payloads == "hash")

    assert (checked.verdict, checked.note) == ("agrees", "")


@pytest.mark.parametrize("payloads", HIDING)
async def test_a_step_that_differs_is_found_without_payloads(payloads: Payloads) -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> None:
        await ctx.schedule_activity("charge", cents)
        await ctx.schedule_timer(0.001)

    checked = only(await document_of(passes_on, payloads), edited)

    assert checked.disagreement is not None
    assert checked.disagreement.history == (
        "ActivityScheduled(name='ship', input hidden, attempt=1)"
    )


async def test_a_changed_value_is_found_by_its_hash() -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> object:
        receipt = await ctx.schedule_activity("charge", 4)
        await ctx.activity(ship)(cents, receipt)
        await ctx.schedule_timer(0.001)
        return receipt

    hashed = only(await document_of(passes_on, "hash"), edited)
    without = only(await document_of(passes_on, "none"), edited)

    assert [(one.name, one.path) for one in hashed.differences] == [("charge", "$")]
    assert without.differences == ()


LOOKS: dict[str, Callable[[Any], object]] = {
    "attribute": lambda receipt: receipt.number,
    "truth": bool,
    "text": str,
    "length": len,
    "iteration": list,
    "equality": lambda receipt: receipt == 1,
    "arithmetic": lambda receipt: receipt + 1,
    "item": lambda receipt: receipt["number"],
    "type": lambda receipt: isinstance(receipt, Receipt),
    "format": lambda receipt: f"{receipt}",
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
async def test_code_that_looks_into_a_payload_is_replayed_up_to_there(
    look: Callable[[Any], object], hashed: HistoryDocument
) -> None:
    async def looks(ctx: OrchestrationContext, cents: int) -> None:
        receipt = await ctx.schedule_activity("charge", cents, result_type=Receipt)
        try:
            look(receipt)
        except Exception:  # noqa: BLE001 # what a library may do
            return
        await ctx.schedule_activity("something else")

    checked = only(hashed, looks)

    assert checked.verdict == "agrees in part"
    assert "compared up to event 3 of" in checked.note
    line = looks.__code__.co_firstlineno + 3
    assert f"{__name__}:{line} in looks" in checked.note or "<lambda>" in checked.note


@pytest.fixture
async def hashed() -> HistoryDocument:
    return await document_of(passes_on, "hash")


async def test_requests_in_another_order_are_told_apart_by_their_hashes() -> None:
    def fan_out(inputs: list[int]) -> Flow:
        async def flow(ctx: OrchestrationContext, cents: int) -> None:
            for each in inputs:
                ctx.schedule_activity("charge", each)

        return flow

    document = await document_of(fan_out([1, 2, 3]), "hash")

    assert only(document, fan_out([3, 1, 2]), strict=True).verdict == "agrees"


async def test_an_unknown_way_of_hiding_is_refused() -> None:
    async with perdure.open_provider("memory://") as provider:
        with pytest.raises(perdure.InvalidInput, match='pass "full"'):
            await perdure.Client(provider).export_history("it", payloads="some")  # pyright: ignore[reportArgumentType] # what is refused


def test_a_text_that_is_no_document_and_a_newer_one_are_refused() -> None:
    with pytest.raises(perdure.InvalidInput, match="no history document"):
        HistoryDocument.from_json("[]")
    with pytest.raises(perdure.InvalidInput, match="version 2 of the format"):
        HistoryDocument.from_json('{"format": "perdure-history", "version": 2}')
