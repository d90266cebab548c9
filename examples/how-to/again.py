"""A failed instance, and the same work once more under a new id."""

import asyncio

import perdure
from perdure import history

app = perdure.Registry()
answers = iter(["no answer", "answer"])


@app.activity
async def ask(question: str) -> str:
    answer = next(answers)
    if answer == "no answer":
        raise ConnectionError(answer)
    return f"{question} {answer}"


@app.orchestration
async def research(ctx: perdure.OrchestrationContext, question: str) -> str:
    return await ctx.schedule_activity(ask, question)


async def again(client: perdure.Client, failed: str, new: str) -> None:
    """Start the same orchestration with the same input under a new id."""
    first = (await client.read_execution_history(failed, 1))[0]
    assert isinstance(first, history.OrchestrationStarted)
    await client.start_orchestration(new, first.name, first.input)


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        handle = await client.start_orchestration("ask-1", research, "why?")
        await handle.wait(timeout=10)
        failure = (await client.get_instance_info("ask-1")).failure
        assert failure is not None
        assert "no answer" in failure.display_message()

        await again(client, "ask-1", "ask-1-again")

        assert await client.wait_for_orchestration_typed("ask-1-again", str, 10) == "why? answer"


asyncio.run(main())
