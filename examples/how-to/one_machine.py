"""Work that stays on one machine: what one activity puts there, the next ones use; over its death."""

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import perdure

app = perdure.Registry()
uploaded: list[str] = []


@dataclass
class Downloaded:
    """Where a file is: on which machine, and under which name."""

    worker_tag: str
    path: str


@app.activity
def download(name: str) -> Downloaded:
    folder = perdure.activity_context(Path).resources
    path = folder / name
    path.write_text(f"the film {name}")
    return Downloaded(perdure.activity_context().worker_tag, str(path))


@app.activity
def render(path: str) -> str:
    return f"{Path(path).read_text()}, rendered"


@app.activity
def upload(film: str) -> None:
    uploaded.append(film)


@app.orchestration
async def convert(ctx: perdure.OrchestrationContext, name: str) -> int:
    for attempt in range(1, 6):
        file = await ctx.schedule_activity(download, name)
        try:
            film = await ctx.schedule_activity(
                render, file.path, tag=file.worker_tag, start_timeout=timedelta(minutes=5)
            )
        except perdure.ActivityTimeout:
            continue  # the machine is gone, and its file with it: begin on another one
        await ctx.schedule_activity(upload, film)
        return attempt
    raise RuntimeError(f"no machine stays long enough for {name}")


async def main() -> None:
    clock = perdure.ManualClock()
    async with perdure.open_provider("memory://", clock=clock) as provider:
        client = perdure.Client(provider)
        with tempfile.TemporaryDirectory() as gone, tempfile.TemporaryDirectory() as stays:
            # A machine that has downloaded, and goes before it renders.
            downloads = perdure.Registry()
            downloads.activity(download)
            downloads.orchestration(convert)
            async with perdure.Runtime(provider, downloads, resources=Path(gone)):
                handle = await client.start_orchestration("film-1", convert, "dawn")
                while (await client.get_queue_depths()).timer_queue == 0:
                    await asyncio.sleep(0.001)
            async with perdure.Runtime(provider, app, resources=Path(stays)):
                clock.advance(timedelta(minutes=5))
                assert await handle.result(timeout=None) == 2
    assert uploaded == ["the film dawn, rendered"]


asyncio.run(main())
