"""The order process: what a user of Perdure writes.

Reserve all items side by side, charge the card with retries, wait for an approval under a
deadline, sleep until the parcel may leave, and ship it in a child orchestration. Where that goes
wrong, or the order is cancelled, at whatever step, everything is undone: the courier is called
back, the money is paid back, the items are released.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta

import perdure
from pydantic import BaseModel

from outside import Answer, Outside, Request
from saga import Saga
from screen import Screen

app = perdure.Registry()

TRY_AGAIN = perdure.RetryPolicy(
    max_attempts=5,
    backoff=perdure.Exponential(initial=timedelta(milliseconds=300), jitter=0),
    non_retryable=("Refused",),
)


class Item(BaseModel):
    """One line of an order."""

    name: str
    cents: int


class Order(BaseModel):
    """What an instance of `process_order` is started with."""

    number: str
    items: list[Item]
    town: str
    card: str = "valid"
    packing_seconds: float = 1.5

    @property
    def cents(self) -> int:
        """What it costs."""
        return sum(item.cents for item in self.items)


class Task(BaseModel):
    """What one activity does, for which order."""

    order: str
    item: str = ""
    cents: int = 0
    card: str = ""


class Approval(BaseModel):
    """The data of the external event `approval`."""

    by: str
    granted: bool = True


class Outcome(BaseModel):
    """How an order ended."""

    state: str
    """`shipped` or `undone`."""
    note: str


class Refused(Exception):
    """A service says no, and will say so again."""


class NotApproved(Exception):
    """A person said no."""


@app.orchestration(park_on=(Exception,))
async def process_order(ctx: perdure.OrchestrationContext, order: Order) -> Outcome:
    """One order, from the reservation to the parcel, or back."""
    ctx.logger.info("begins, %d items", len(order.items))
    saga = Saga(ctx)
    try:
        return Outcome(state="shipped", note=await _deliver(ctx, saga, order))
    except (asyncio.CancelledError, *_OUTCOMES) as problem:
        reason = _reason(problem)
        ctx.logger.warning("goes wrong, so everything is undone: %s", reason)
        await saga.undo()
        if isinstance(problem, asyncio.CancelledError):
            raise
    return Outcome(state="undone", note=reason)


_OUTCOMES = (NotApproved, TimeoutError, perdure.ActivityFailed, perdure.SubOrchestrationFailed)
"""What an order may end with. Any other error is a slip of the code: it parks the order as it is."""


async def _deliver(ctx: perdure.OrchestrationContext, saga: Saga, order: Order) -> str:
    """The way forward; returns the number of the parcel."""
    tasks = [Task(order=order.number, item=item.name) for item in order.items]
    await asyncio.gather(
        *(saga.step(reserve, task, undo=release, retry=TRY_AGAIN) for task in tasks)
    )
    payment = Task(order=order.number, cents=order.cents, card=order.card)
    await saga.step(charge, payment, undo=refund, retry=TRY_AGAIN)
    ctx.logger.info("waits for the approval, for ten minutes at most")
    async with asyncio.timeout(600):
        approval = await ctx.schedule_wait("approval", Approval)
    if not approval.granted:
        raise NotApproved(f"{approval.by} did not approve")
    ctx.logger.info(
        "approved by %s; packed in %g s (a durable timer)", approval.by, order.packing_seconds
    )
    await asyncio.sleep(order.packing_seconds)
    parcel = ctx.schedule_sub_orchestration(ship, order)
    saga.note(parcel, Task(order=order.number, item=order.town), undo=call_back)
    # Shielded, so that a cancellation of the order does not cancel the child in the middle: `undo`
    # waits for its end, and calls the courier back.
    return await asyncio.shield(parcel)


def _reason(problem: BaseException) -> str:
    """In the words of the part that knows best: the child, where it was the child."""
    if isinstance(problem, perdure.SubOrchestrationFailed):
        return problem.details.message
    if isinstance(problem, TimeoutError) and not isinstance(problem, perdure.ActivityTimeout):
        return "no approval in time"
    return str(problem) or "cancelled"


@app.orchestration
async def ship(ctx: perdure.OrchestrationContext, order: Order) -> str:
    """The child: find a courier; returns the number of the parcel."""
    task = Task(order=order.number, item=order.town)
    return await ctx.schedule_activity(book_courier, task, retry=TRY_AGAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What activities find in `activity_context().resources`."""

    outside: Outside
    screen: Screen
    answer_seconds: float
    """How long the bank's answer to a charge is under way."""


@app.activity
def reserve(task: Task) -> None:
    """A plain function: it runs in a thread."""
    _ask("reserve", task)


@app.activity
async def charge(task: Task) -> None:
    """Charges the card. The first attempt finds the bank out of reach."""
    if perdure.activity_context().attempt == 1:
        raise ConnectionError("the bank is out of reach")
    if task.card == "refused":
        raise Refused("the card is refused")
    _ask("charge", task)
    # The bank has booked, and its answer is under way: the worst moment for a process to die.
    await asyncio.sleep(_around().answer_seconds)


@app.activity
def refund(task: Task) -> None:
    """The compensation of `charge`."""
    _ask("refund", task)


@app.activity
def release(task: Task) -> None:
    """The compensation of `reserve`."""
    _ask("release", task)


@app.activity
def book_courier(task: Task) -> str:
    """Returns the number of the parcel."""
    if task.item == "Atlantis":
        raise Refused(f"no courier goes to {task.item}")
    _ask("courier", task)
    return f"parcel of {task.order} to {task.item}"


@app.activity
def call_back(task: Task) -> None:
    """The compensation of `book_courier`."""
    _ask("call back", task)


def _around() -> Surroundings:
    return perdure.activity_context(Surroundings).resources


def _ask(action: str, task: Task) -> None:
    """Ask the outside world under the activity's idempotency key, and tell of the answer."""
    around, key = _around(), perdure.activity_context().idempotency_key
    request = Request(
        action=action,
        order=task.order,
        item=task.item,
        cents=task.cents,
        key=key,
        process=os.getpid(),
        booked=False,
    )
    what = f"{action} {task.item or euros(task.cents)}"
    match around.outside.ask(request):
        case Answer.BOOKED:
            around.screen.say(task.order, what, "green")
        case Answer.KNOWN:
            known = f"{what}: known by its key, so nothing happens twice"
            around.screen.say(task.order, known, "cyan")
        case Answer.NOTHING_TO_UNDO:
            around.screen.say(task.order, f"{what}: there is nothing to undo", "cyan")


def euros(cents: int) -> str:
    """An amount for people."""
    return f"{cents / 100:.2f} €"
