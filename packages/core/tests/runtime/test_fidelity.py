"""Values on their way through a runtime: refused where they are encoded, the same after a restart."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure import Fixed, RetryPolicy
from perdure.model.details import Raised
from perdure.testing import Stage
from pydantic import BaseModel, SecretStr


class Login(BaseModel):
    user: str
    token: SecretStr


@dataclass
class Approve:
    user: str


@dataclass
class Reject:
    user: str


async def test_a_start_whose_input_would_not_come_back_stores_nothing(url) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def enter(ctx: perdure.OrchestrationContext, login: Login) -> None: ...

    login = Login(user="ada", token=SecretStr("hunter2"))
    async with Stage(url=url) as stage:
        client = stage.client

        with pytest.raises(perdure.InvalidPayload, match=r"\$\.token is a secret"):
            await client.start_orchestration("i", enter, login)
        with pytest.raises(perdure.InvalidPayload, match=r"\$\.token is a secret"):
            await client.start_orchestration_typed("i", "enter", login)
        with pytest.raises(perdure.InvalidPayload, match=r"\$\.user occurs twice"):
            await client.start_orchestration("i", "enter", '{"user": "ada", "user": "bob"}')

        assert await client.get_orchestration_status("i") == perdure.NotFound()


async def test_a_result_that_would_not_come_back_fails_its_activity_once(url) -> None:
    app = perdure.Registry()
    runs: list[int] = []

    @app.activity
    async def decide(number: int) -> Approve | Reject:
        runs.append(number)
        return Reject("bo")

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        policy = RetryPolicy(max_attempts=5, backoff=Fixed(timedelta(milliseconds=1)))
        try:
            await ctx.schedule_activity(decide, 1, retry=policy)
        except perdure.ActivityFailed as error:
            return error.message
        return "it came back"

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)
        message = await handle.result()

    assert "result of activity 'decide' of type 'Reject'" in message
    assert "discriminator" in message
    assert runs == [1]


async def test_an_output_that_would_not_come_back_fails_its_instance(url) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> dict[str, object]:
        return {"a": float("nan")}

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)
        status = await handle.wait()

    assert isinstance(status, perdure.Failed)
    assert isinstance(status.details.kind, Raised)
    assert "$.a is NaN or infinity" in status.details.message


PROGRAM = """
    import asyncio, sys
    import perdure
    from perdure.testing import Stage
    from pydantic import BaseModel

    class Document(BaseModel):
        words: set[str]

    app = perdure.Registry()

    @app.activity
    async def index(document: Document) -> list[object]:
        return [len(document.words), document.words]

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext, document: Document) -> list[object]:
        first = await ctx.schedule_activity(index, document)
        await ctx.schedule_wait("go")
        return first

    async def main(url: str, part: str) -> None:
        async with Stage(app, url=url) as stage:
            if part == "1":
                words = {"red", "green", "blue", "white", "black"}
                await stage.client.start_orchestration("i", flow, Document(words=words))
                await stage.settle()
            else:
                await stage.client.raise_event("i", "go")
                print((await stage.client.wait_for_orchestration("i")).output)

    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_set_is_the_same_text_for_the_process_that_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    program = textwrap.dedent(PROGRAM)

    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, url, part],
            env={**os.environ, "PYTHONHASHSEED": part},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for part in ("1", "2")
    ]

    assert outputs == ["", '[5,["black","blue","green","red","white"]]\n']
