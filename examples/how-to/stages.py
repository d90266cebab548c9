"""More of a stage: children that are faked, a deployment, further processes, unreliable storage."""

import asyncio
from datetime import timedelta

import perdure
from perdure.testing import Stage
from perdure_conformance.faults import Fault, Faults

flows, images = perdure.Registry(), perdure.Registry()


@images.activity(tag="gpu")
async def draw(page: int) -> str:
    return f"page {page}, drawn"


@flows.orchestration
async def illustrate(ctx: perdure.OrchestrationContext, page: int) -> str:
    return await ctx.schedule_activity(draw, page)


@flows.orchestration
async def publish(ctx: perdure.OrchestrationContext, pages: int) -> list[str]:
    drawn = [ctx.schedule_sub_orchestration(illustrate, page + 1) for page in range(pages)]
    done = await asyncio.gather(*drawn)
    await ctx.schedule_timer(timedelta(days=1))
    return done


async def test_a_book_is_published_with_what_its_children_return() -> None:
    def drawn(page: int) -> str:
        return f"page {page}"

    async with Stage(flows) as stage:
        illustrated = stage.fake(illustrate, calls=drawn)

        assert await stage.run(publish, 2) == ["page 1", "page 2"]
        assert illustrated.inputs == [1, 2]


async def test_a_worker_of_its_own_draws() -> None:
    gpu = perdure.RuntimeOptions(tags=frozenset({"gpu"}))
    async with Stage(flows) as stage, stage.worker(images, options=gpu) as worker:
        book = await stage.start(publish, 1)
        await worker.crash()

        assert await book.result() == ["page 1, drawn"]


async def test_a_deployment_in_the_night() -> None:
    async with Stage(flows) as stage:
        stage.fake(illustrate, returns="a page")
        book = await stage.start(publish, 1)
        await stage.settle()
        await stage.restart(edited())
        await stage.until(lambda: stage.elapsed >= timedelta(hours=23))

        assert isinstance(await book.status(), perdure.Running)
        assert await book.result() == ["a page", "published"]


def edited() -> perdure.Registry:
    """The next release of the same code."""
    app = perdure.Registry()

    @app.orchestration(name="publish")
    async def publish_and_say_so(ctx: perdure.OrchestrationContext, pages: int) -> list[str]:
        return [*await publish(ctx, pages), "published"]

    @app.orchestration(name="illustrate")
    async def illustrate_again(ctx: perdure.OrchestrationContext, page: int) -> str:
        return await illustrate(ctx, page)

    return app


async def test_storage_that_fails_now_and_then() -> None:
    faults = Faults(rate=0.3, seed=7, faults=[Fault.BEFORE, Fault.LOST_ANSWER])
    async with Stage(flows, plugins=[faults]) as stage:
        stage.fake(illustrate, returns="a page")

        assert await stage.run(publish, 3) == ["a page"] * 3
    assert faults.injected.total() > 0


async def main() -> None:
    await test_a_book_is_published_with_what_its_children_return()
    await test_a_worker_of_its_own_draws()
    await test_a_deployment_in_the_night()
    await test_storage_that_fails_now_and_then()


asyncio.run(main())
