"""Waiting for a person: an approval with a deadline, a reminder, and answers that do not fit."""

import asyncio
from datetime import timedelta

import perdure
from perdure.testing import Stage
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
    async with Stage(app) as stage:
        client = stage.client
        quick = await client.start_orchestration("leave-1", approve, "Ines")
        late = await client.start_orchestration("leave-2", approve, "Bo")

        decision = Granted(by="Ines", until="May")
        await client.raise_event_typed("leave-1", "decision", decision, event_id="form-17")
        assert await quick.result() == "granted by Ines"

        await stage.advance(timedelta(days=2))
        assert sent == ["Bo, please decide"]
        await late.raise_event("decision", '"yes"')  # does not fit: refused, and the wait goes on
        await late.raise_event("decision", '{"by": "Bo", "reason": "no budget"}')
        assert await late.result() == "refused by Bo: no budget"


asyncio.run(main())
