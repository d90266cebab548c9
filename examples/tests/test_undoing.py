"""The order process undoes what was done, at whatever step it fails or is cancelled.

One order is played again and again on a store in memory; each time it is cancelled, or a service
fails, at another request to the world outside: before it is booked, or after, with its answer
lost. In the end the world outside has an order that was shipped, or one of which nothing is left.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import perdure
import pytest
from perdure import history
from perdure.testing import Stage, survive

ORDER = Path(__file__).parents[1] / "order"
sys.path.insert(0, str(ORDER))
try:
    import orders
    from outside import UNDOES, Answer, Outside, Request
    from screen import Screen
finally:
    sys.path.remove(str(ORDER))

STEPS = ("reserve lamp", "reserve desk", "charge", "courier Lisbon")


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


def shop(outside: Outside) -> Stage:
    """A worker, and time that skips."""
    return Stage(orders.app, resources=surroundings(outside))


def surroundings(outside: Outside) -> orders.Surroundings:
    return orders.Surroundings(outside=outside, screen=Silent("test"), answer_seconds=0)


def an_order(**changes: object) -> orders.Order:
    items = [orders.Item(name=name, cents=100) for name in ("lamp", "desk")]
    return orders.Order(number="o", items=items, town="Lisbon").model_copy(update=changes)


async def approve(handle: perdure.Handle[orders.Outcome], *, granted: bool = True) -> None:
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
    async with shop(outside) as stage:
        handle = await stage.start(orders.process_order, an_order())
        await approve(handle)
        status = await handle.wait()

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
    async with shop(outside) as stage:
        handle = await stage.start(orders.process_order, an_order())
        await approve(handle)
        outcome = await handle.result()

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
    async with shop(outside) as stage:
        handle = await stage.start(orders.process_order, an_order(**changes))
        if granted is not None:
            await approve(handle, granted=granted)
        outcome = await handle.result()

    assert outcome.state == "undone"
    assert note in outcome.note
    assert left(outside) == Counter()


async def is_waiting(stage: Stage, handle: perdure.Handle[orders.Outcome], *, packed: bool) -> bool:
    """Whether the order waits for the approval, or is being packed."""
    events = await stage.history(handle.instance)
    if packed:
        return any(getattr(event, "purpose", "") == "sleep" for event in events)
    return any(isinstance(event, history.WaitCreated) for event in events)


@pytest.mark.slow
@pytest.mark.parametrize("approved", [False, True], ids=["approval", "packing"])
async def test_an_order_that_is_cancelled_while_it_waits_leaves_nothing(tmp_path, approved) -> None:
    outside = Outside(tmp_path / "outside.db")
    async with shop(outside) as stage:
        handle = await stage.start(orders.process_order, an_order(packing_seconds=600))
        if approved:
            await approve(handle)
        await stage.until(lambda: is_waiting(stage, handle, packed=approved))
        await handle.cancel("changed my mind")
        status = await handle.wait()

    assert isinstance(status, perdure.Failed)
    assert left(outside) == Counter()


@pytest.mark.slow
async def test_an_order_that_goes_well_is_shipped(tmp_path) -> None:
    outside = Outside(tmp_path / "outside.db")
    async with shop(outside) as stage:
        handle = await stage.start(orders.process_order, an_order())
        await approve(handle)
        outcome = await handle.result()

    assert outcome.state == "shipped"
    assert left(outside) == Counter(STEPS)


@pytest.mark.slow
async def test_an_order_survives_a_crash_at_each_of_its_commits(tmp_path) -> None:
    numbers = count(1)

    def world() -> orders.Surroundings:
        return surroundings(Outside(tmp_path / f"outside-{next(numbers)}.db"))

    async def script(stage: Stage, handle: perdure.Handle[orders.Outcome]) -> None:
        await approve(handle)

    survival = await survive(
        orders.app,
        orders.process_order,
        an_order(items=[orders.Item(name="lamp", cents=100)]),
        script=script,
        resources=world,
        effects=lambda around: left(around.outside),
    )

    assert survival.effects == Counter(("reserve lamp", "charge", "courier Lisbon"))
    assert survival.runs > 30
