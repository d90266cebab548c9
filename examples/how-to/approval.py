"""Waiting for a person: an approval with a deadline, a reminder, and answers that do not fit."""

import asyncio
from datetime import timedelta

import perdure
from pydantic import BaseModel

app = perdure.Registry()
sent: list[str] = []


class Decision(BaseModel):
    by: str
    granted: bool


@app.activity
async def remind(who: str) -> None:
    sent.append(f"{who}, please decide")


@app.orchestration
async def approve(ctx: perdure.OrchestrationContext, who: str) -> str:
    decision = ctx.schedule_wait("decision", Decision)
    done, _ = await asyncio.wait([decision], timeout=timedelta(days=2).total_seconds())
    if not done:
        await ctx.schedule_activity(remind, who)
    try:
        async with asyncio.timeout(timedelta(days=5).total_seconds()):
            answer = await decision
    except TimeoutError:
        return "refused: no answer"
    return f"{'granted' if answer.granted else 'refused'} by {answer.by}"


async def main() -> None:
    clock = perdure.ManualClock()
    async with (
        perdure.open_provider("memory://", clock=clock) as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        quick = await client.start_orchestration("leave-1", approve, "Ines")
        late = await client.start_orchestration("leave-2", approve, "Bo")

        decision = Decision(by="Ines", granted=True)
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
        await late.raise_event("decision", '{"by": "Bo", "granted": false}')
        assert await late.result(timeout=None) == "refused by Bo"


asyncio.run(main())
