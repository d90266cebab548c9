"""Tests of orchestrations on a stage: over time, with fakes, cancelled, and with a crash."""

import asyncio
from datetime import timedelta

import perdure
from perdure.testing import Stage, run_activity, survive

app = perdure.Registry()


class Bank:
    """The resources of the activities: what has been charged, by idempotency key."""

    def __init__(self) -> None:
        self.charged: dict[str, int] = {}


@app.activity
async def charge(cents: int) -> str:
    context = perdure.activity_context(Bank)
    context.resources.charged[context.idempotency_key] = cents
    return f"receipt for {cents}"


@app.activity
async def refund(receipt: str) -> None:
    raise NotImplementedError("the bank is not connected yet")


@app.activity
async def remind(customer: str) -> None:
    raise NotImplementedError("mail is not connected yet")


@app.orchestration
async def approve(ctx: perdure.OrchestrationContext, customer: str) -> str:
    try:
        async with asyncio.timeout(timedelta(days=7).total_seconds()):
            return await ctx.schedule_wait("approval", str)
    except TimeoutError:
        await ctx.schedule_activity(remind, customer)
        return "reminded"


@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, cents: int) -> str:
    policy = perdure.RetryPolicy(max_attempts=3, backoff=perdure.Fixed(timedelta(minutes=1)))
    receipt = await ctx.schedule_activity(charge, cents, retry=policy)
    try:
        await ctx.schedule_wait("delivered")
    except asyncio.CancelledError:
        await ctx.schedule_activity(refund, receipt)
        raise
    return receipt


async def test_the_reminder_comes_after_a_week() -> None:
    async with Stage(app) as stage:
        reminder = stage.fake(remind, returns=None)

        assert await stage.run(approve, "Ada") == "reminded"
        assert reminder.inputs == ["Ada"]
        assert stage.elapsed == timedelta(days=7)


async def test_a_payment_is_tried_three_times() -> None:
    async with Stage(app) as stage:
        payment = stage.fake(charge, calls=[ConnectionError, TimeoutError("slow"), "a receipt"])
        order = await stage.start(pay, 500)
        await order.raise_event("delivered")

        assert await order.result() == "a receipt"
        assert payment.inputs == [500, 500, 500]


async def test_an_approval_ends_the_wait() -> None:
    async with Stage(app, fake_all=True) as stage:
        order = await stage.start(approve, "Ada")
        await stage.settle()
        await order.raise_event("approval", '"yes"')

        assert await order.result() == "yes"


async def test_a_cancelled_order_gives_the_money_back() -> None:
    async with Stage(app, resources=Bank()) as stage:
        refunded = stage.fake(refund, returns=None)
        order = await stage.start(pay, 500)
        await stage.settle()
        await order.cancel("changed my mind")

        assert isinstance(await order.wait(), perdure.Failed)
        assert refunded.inputs == ["receipt for 500"]


async def test_a_crash_charges_no_one_twice() -> None:
    bank = Bank()
    async with Stage(app, resources=bank) as stage:
        order = await stage.start(pay, 500)
        await stage.settle()
        await stage.crash()
        await order.raise_event("delivered")

        assert await order.result() == "receipt for 500"
    assert list(bank.charged.values()) == [500]


async def test_no_crash_charges_twice() -> None:
    async def deliver(stage: Stage, order: perdure.Handle[str]) -> None:
        await stage.settle()
        await order.raise_event("delivered")

    def booked(bank: Bank) -> list[int]:
        return list(bank.charged.values())

    await survive(app, pay, 500, script=deliver, resources=Bank, effects=booked)


async def test_the_activity_alone() -> None:
    bank = Bank()

    assert await run_activity(charge, 500, resources=bank) == "receipt for 500"


async def main() -> None:
    await test_the_reminder_comes_after_a_week()
    await test_a_payment_is_tried_three_times()
    await test_an_approval_ends_the_wait()
    await test_a_cancelled_order_gives_the_money_back()
    await test_a_crash_charges_no_one_twice()
    await test_no_crash_charges_twice()
    await test_the_activity_alone()


asyncio.run(main())
