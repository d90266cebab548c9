"""The order process undoes what was done, at whatever step it fails or is cancelled.

One order is played again and again on a store in memory; each time it is cancelled, or a service
fails, at another request to the world outside: before it is booked, or after, with its answer
lost. In the end the world outside has an order that was shipped, or one of which nothing is left.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure import history

ORDER = Path(__file__).parents[1] / "order"
sys.path.insert(0, str(ORDER))
try:
    import orders
    from outside import UNDOES, Answer, Outside, Request
    from screen import Screen
finally:
    sys.path.remove(str(ORDER))

STEPS = ("reserve lamp", "reserve desk", "charge", "courier Lisbon")
PATIENT = perdure.RuntimeOptions(
    turn_lease=timedelta(minutes=5), activity_lease=timedelta(minutes=5)
)


class Silent(Screen):
    def say(self, *words: str) -> None: ...


class Disturbed(Outside):
    """The world outside, which does something at one request."""

    def __init__(self, path: Path, at: str, before, after) -> None:
        super().__init__(path)
        self._at, self._before, self._after = at, before, after

    def ask(self, request: Request) -> Answer:
        hit = f"{request.action} {request.item}".strip() == self._at
        if hit:
            self._before()
        answer = super().ask(request)
        if hit:
            self._after()
        return answer


def nothing() -> None: ...


def left(outside: Outside) -> Counter[str]:
    """What is booked and not undone."""
    booked: Counter[str] = Counter()
    for request in outside.requests("o"):
        if request.booked:
            action = UNDOES.get(request.action)
            booked[f"{action or request.action} {request.item}".strip()] += -1 if action else 1
    return +booked


@asynccontextmanager
async def shop(outside: Outside):
    """A worker, and time that passes quickly."""
    clock = perdure.ManualClock()
    around = orders.Surroundings(outside=outside, screen=Silent("test"), answer_seconds=0.02)

    async def pass_time() -> None:
        while True:
            clock.advance(timedelta(milliseconds=100))
            await asyncio.sleep(0.001)

    async with (
        perdure.open_provider("memory://", clock=clock) as provider,
        perdure.Runtime(provider, orders.app, resources=around, options=PATIENT),
    ):
        passing = asyncio.ensure_future(pass_time())
        try:
            yield perdure.Client(provider)
        finally:
            passing.cancel()


async def start(client: perdure.Client, **changes: str) -> perdure.Handle[orders.Outcome]:
    items = [orders.Item(name=name, cents=100) for name in ("lamp", "desk")]
    order = orders.Order(number="o", items=items, town="Lisbon").model_copy(update=changes)
    return await client.start_orchestration("o", orders.process_order, order)


async def approve(handle: perdure.Handle[orders.Outcome], granted: bool = True) -> None:
    await handle.raise_event(
        "approval", orders.Approval(by="Ines", granted=granted).model_dump_json()
    )


@pytest.mark.slow
@pytest.mark.parametrize("at", STEPS)
@pytest.mark.parametrize("booked", [False, True], ids=["before it is booked", "after"])
async def test_an_order_that_is_cancelled_in_a_step_leaves_nothing(tmp_path, at, booked) -> None:
    loop = asyncio.get_running_loop()
    cancelled: list[asyncio.Future[None]] = []

    def cancel() -> None:
        loop.call_soon_threadsafe(
            lambda: cancelled.append(asyncio.ensure_future(handle.cancel("changed my mind")))
        )

    moments = (nothing, cancel) if booked else (cancel, nothing)
    outside = Disturbed(tmp_path / "outside.db", at, *moments)
    async with shop(outside) as client:
        handle = await start(client)
        await approve(handle)
        status = await handle.wait(timeout=timedelta(hours=2))

    assert cancelled
    if isinstance(status, perdure.Completed):  # the cancellation came after the last step
        assert left(outside) == Counter(STEPS)
    else:
        assert status.details.display_message() == "canceled: changed my mind"
        assert left(outside) == Counter()


@pytest.mark.slow
@pytest.mark.parametrize("at", STEPS)
@pytest.mark.parametrize("booked", [False, True], ids=["before it is booked", "after"])
async def test_an_order_of_which_a_step_fails_for_good_leaves_nothing(tmp_path, at, booked) -> None:
    def fail() -> None:
        raise ConnectionError("the line is cut")

    moments = (nothing, fail) if booked else (fail, nothing)
    outside = Disturbed(tmp_path / "outside.db", at, *moments)
    async with shop(outside) as client:
        handle = await start(client)
        await approve(handle)
        outcome = await handle.result(timeout=timedelta(hours=2))

    assert outcome.state == "undone"
    assert "the line is cut" in outcome.note
    assert left(outside) == Counter()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "granted", "note"),
    [
        ({"card": "refused"}, True, "the card is refused"),
        ({"town": "Atlantis"}, True, "no courier goes to Atlantis"),
        ({}, False, "Ines did not approve"),
        ({}, None, "no approval in time"),
    ],
    ids=["card", "courier", "refused approval", "no approval"],
)
async def test_an_order_that_is_refused_leaves_nothing(tmp_path, changes, granted, note) -> None:
    outside = Outside(tmp_path / "outside.db")
    async with shop(outside) as client:
        handle = await start(client, **changes)
        if granted is not None:
            await approve(handle, granted)
        outcome = await handle.result(timeout=timedelta(hours=2))

    assert outcome.state == "undone"
    assert note in outcome.note
    assert left(outside) == Counter()


def is_waiting(events: Sequence[history.Event], *, packed: bool) -> bool:
    """Whether the order waits for the approval, or is being packed."""
    if packed:
        return any(getattr(event, "purpose", "") == "sleep" for event in events)
    return any(isinstance(event, history.WaitCreated) for event in events)


@pytest.mark.slow
@pytest.mark.parametrize("approved", [False, True], ids=["approval", "packing"])
async def test_an_order_that_is_cancelled_while_it_waits_leaves_nothing(tmp_path, approved) -> None:
    outside = Outside(tmp_path / "outside.db")
    async with shop(outside) as client:
        handle = await start(client, packing_seconds=600)
        if approved:
            await approve(handle)
        while not is_waiting(await client.read_execution_history("o", 1), packed=approved):  # noqa: ASYNC110 # what is waited for is in the storage
            await asyncio.sleep(0.001)
        await handle.cancel("changed my mind")
        status = await handle.wait(timeout=timedelta(hours=2))

    assert isinstance(status, perdure.Failed)
    assert left(outside) == Counter()


@pytest.mark.slow
async def test_an_order_that_goes_well_is_shipped(tmp_path) -> None:
    outside = Outside(tmp_path / "outside.db")
    async with shop(outside) as client:
        handle = await start(client)
        await approve(handle)
        outcome = await handle.result(timeout=timedelta(hours=2))

    assert outcome.state == "shipped"
    assert left(outside) == Counter(STEPS)
