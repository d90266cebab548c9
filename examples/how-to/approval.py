"""Waiting for a person: an approval with a deadline, a reminder, and answers that do not fit."""

import asyncio
from datetime import timedelta

import perdure
from pydantic import BaseModel

app = perdure.Registry()
sent: list[str] = []


class Granted(BaseModel):
    by: str
    until: str


class Refused(BaseModel):
    by: str
    reason: str


@app.activity
async def remind(who: str) -> None:
    sent.append(f"{who}, please decide")


@app.orchestration
async def approve(ctx: perdure.OrchestrationContext, who: str) -> str:
    decision = ctx.schedule_wait("decision", Granted | Refused)
    done, _ = await asyncio.wait([decision], timeout=timedelta(days=2).total_seconds())
    if not done:
        await ctx.schedule_activity(remind, who)
    try:
        async with asyncio.timeout(timedelta(days=5).total_seconds()):
            answer = await decision
    except TimeoutError:
        return "refused: no answer"
    match answer:
        case Granted(by=by):
            return f"granted by {by}"
        case Refused(by=by, reason=reason):
            return f"refused by {by}: {reason}"


async def main() -> None:
    clock = perdure.ManualClock()
    async with (
        perdure.open_provider("memory://", clock=clock) as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        quick = await client.start_orchestration("leave-1", approve, "Ines")
        late = await client.start_orchestration("leave-2", approve, "Bo")

        decision = Granted(by="Ines", until="May")
        await client.raise_event(
            "leave-1", "decision", decision.model_dump_json(), event_id="form-17"
        )
        assert await quick.result(timeout=None) == "granted by Ines"

        while (await client.get_execution_info("leave-2", 1)).event_count < 3:
            await asyncio.sleep(0.001)
        clock.advance(timedelta(days=2))
        while not sent:
            await asyncio.sleep(0.001)
        assert sent == ["Bo, please decide"]
        await late.raise_event("decision", '"yes"')  # does not fit: refused, and the wait goes on
        await late.raise_event("decision", '{"by": "Bo", "reason": "no budget"}')
        assert await late.result(timeout=None) == "refused by Bo: no budget"


asyncio.run(main())
