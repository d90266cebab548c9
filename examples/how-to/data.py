"""Data: models in and out, a secret that stays in the process, and a large file by reference."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

import perdure
from pydantic import BaseModel, SecretStr

app = perdure.Registry()


class Article(BaseModel):
    title: str
    pages: int


class Stored(BaseModel):
    """Where a large file is, in place of the file."""

    name: str
    size: int


@dataclass(frozen=True)
class Services:
    """What activities need and no history should hold."""

    token: SecretStr
    folder: Path


@app.activity
def print_pdf(article: Article) -> Stored:
    services = perdure.activity_context(Services).resources
    target = services.folder / f"{article.title}.pdf"
    target.write_bytes(b"%PDF" * article.pages)
    return Stored(name=target.name, size=target.stat().st_size)


@app.activity
async def upload(file: Stored) -> str:
    services = perdure.activity_context(Services).resources
    token = services.token.get_secret_value()  # used here, stored nowhere
    return f"{file.name} is uploaded" if token else "refused"


@dataclass(frozen=True)
class Approve:
    user: str


@dataclass(frozen=True)
class Reject:
    user: str


@app.orchestration
async def decide(ctx: perdure.OrchestrationContext, answers: list[Approve | Reject]) -> int:
    return len(answers)


@app.orchestration
async def publish(ctx: perdure.OrchestrationContext, article: Article) -> str:
    return await ctx.schedule_activity(upload, await ctx.schedule_activity(print_pdf, article))


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        resources = Services(token=SecretStr("s3cret"), folder=Path(folder))
        async with (
            perdure.open_provider("memory://") as provider,
            perdure.Runtime(provider, app, resources=resources),
        ):
            client = perdure.Client(provider)
            article = Article(title="owls", pages=3)
            handle = await client.start_orchestration("publish-1", publish, article)
            assert await handle.result(timeout=10) == "owls.pdf is uploaded"
            try:
                await client.start_orchestration("decide-1", decide, [Approve("ada"), Reject("bo")])
            except perdure.InvalidPayload as error:
                print(error)
            assert await client.get_orchestration_status("decide-1") == perdure.NotFound()
            history = await client.read_execution_history("publish-1", 1)
            assert "s3cret" not in str(history)


asyncio.run(main())
