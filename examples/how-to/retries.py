"""Retries and time limits: a bank that does not answer, a refused card, a slow service."""

import asyncio
from datetime import timedelta

import perdure

app = perdure.Registry()


class CardRefused(Exception):
    """Trying again does not help."""


PATIENT = perdure.RetryPolicy(
    max_attempts=5,
    backoff=perdure.Exponential(initial=timedelta(milliseconds=10), factor=2, jitter=0.1),
    attempt_timeout=timedelta(seconds=30),
    total_timeout=timedelta(hours=1),
    non_retryable=(CardRefused,),
)


@app.activity
async def charge(card: str) -> str:
    if card == "stolen":
        raise CardRefused("the bank says no")
    if perdure.activity_context().attempt < 3:
        raise ConnectionError("the bank does not answer")
    return "charged"


@app.activity
async def ask(question: str) -> str:
    status = 429 if perdure.activity_context().attempt == 1 else 400
    if status == 429:  # the service says when to try again
        raise perdure.RetryAfter(0.01, details={"status": status})
    raise perdure.NonRetryable("the question is malformed", details={"status": status})


@app.activity
async def render(scene: str) -> str:
    await asyncio.sleep(3600)
    return scene


@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, card: str) -> str:
    try:
        return await ctx.schedule_activity(charge, card, retry=PATIENT)
    except perdure.ActivityFailed as error:
        return f"{error.type_name}: {error.message}"


@app.orchestration
async def research(ctx: perdure.OrchestrationContext, question: str) -> list[object]:
    policy = perdure.RetryPolicy(max_attempts=None)
    try:
        return [await ctx.schedule_activity(ask, question, retry=policy)]
    except perdure.ActivityFailed as error:
        return [error.type_name, error.data]


@app.orchestration
async def film(ctx: perdure.OrchestrationContext, scene: str) -> str:
    limit = perdure.RetryPolicy(max_attempts=2, attempt_timeout=timedelta(milliseconds=50))
    try:
        return await ctx.schedule_activity(render, scene, retry=limit)
    except perdure.ActivityTimeout:
        return "not rendered in time"


@app.orchestration
async def hurried(ctx: perdure.OrchestrationContext, scene: str) -> str:
    try:
        async with asyncio.timeout(0.05):
            await ctx.schedule_activity(render, scene)
    except TimeoutError:
        return "too late"
    return "in time"


async def main() -> None:
    options = perdure.RuntimeOptions(shutdown_grace=timedelta(0))  # no film is waited for
    async with (
        perdure.open_provider("memory://") as provider,
        perdure.Runtime(provider, app, options=options),
    ):
        client = perdure.Client(provider)
        good = await client.start_orchestration("pay-1", pay, "valid")
        bad = await client.start_orchestration("pay-2", pay, "stolen")
        asked = await client.start_orchestration("ask-1", research, "why?")
        slow = await client.start_orchestration("film-1", film, "opening")
        late = await client.start_orchestration("late-1", hurried, "opening")
        assert await late.result(timeout=10) == "too late"
        assert await good.result(timeout=10) == "charged"
        assert await bad.result(timeout=10) == "CardRefused: the bank says no"
        assert await asked.result(timeout=10) == ["NonRetryable", {"status": 400}]
        assert await slow.result(timeout=20) == "not rendered in time"


asyncio.run(main())
