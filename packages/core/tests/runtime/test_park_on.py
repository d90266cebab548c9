"""`park_on`: an uncaught error parks the instance until repaired code is deployed."""

from __future__ import annotations

from datetime import timedelta

import perdure
import pytest
from perdure import InvalidInput, OrchestrationContext, RuntimeOptions
from perdure.testing import Stage


def app_of(*, is_repaired: bool, park_on: tuple[type[BaseException], ...] = ()) -> perdure.Registry:
    app = perdure.Registry()
    calls: list[str] = []

    @app.activity
    async def work() -> str:
        calls.append("work")
        return "3"

    @app.orchestration(park_on=park_on)
    async def flow(ctx: OrchestrationContext) -> int:
        text = await ctx.activity(work)()
        ctx.schedule_orchestration("never")
        if is_repaired:
            return int(text) + 1
        return text + 1  # pyright: ignore[reportOperatorIssue, reportReturnType, reportUnknownVariableType] # the defect

    return app


async def parked(stage: Stage) -> perdure.Parked | None:
    status = await stage.client.get_orchestration_status("a")
    assert isinstance(status, perdure.Running)
    return status.parked


@pytest.mark.parametrize("of_runtime", [True, False])
async def test_an_instance_that_raises_is_parked_and_goes_on_with_repaired_code(
    of_runtime: bool,  # a parameter of the test
) -> None:
    options = RuntimeOptions(park_on=(TypeError,) if of_runtime else ())
    broken = app_of(is_repaired=False, park_on=() if of_runtime else (TypeError,))
    async with Stage(broken, options=options) as stage:
        await stage.client.start_orchestration("a", "flow")
        await stage.advance(timedelta(minutes=5))

        mark = await parked(stage)
        assert mark is not None
        assert mark.reason == "raised"
        assert "TypeError" in mark.details
        assert "flow" in mark.details
        history = await stage.client.read_execution_history("a", 1)
        assert len(history) <= 3

        await stage.restart(app_of(is_repaired=True, park_on=(TypeError,)))
        await stage.advance(timedelta(minutes=1))
        status = await stage.client.get_orchestration_status("a")
        assert isinstance(status, perdure.Completed)
        assert status.output == "4"


async def test_other_errors_end_the_instance() -> None:
    app = app_of(is_repaired=False, park_on=(KeyError, OSError))
    async with Stage(app) as stage:
        await stage.client.start_orchestration("a", "flow")
        await stage.settle()

        assert isinstance(await stage.client.get_orchestration_status("a"), perdure.Failed)


async def test_a_parked_instance_is_cancelled_as_any_other() -> None:
    app = app_of(is_repaired=False, park_on=(TypeError,))
    async with Stage(app) as stage:
        await stage.client.start_orchestration("a", "flow")
        await stage.advance(timedelta(minutes=5))
        await stage.client.cancel_instance("a", "enough")
        await stage.advance(timedelta(minutes=1))

        status = await stage.client.get_orchestration_status("a")
        assert isinstance(status, perdure.Failed)
        assert status.details.display_message() == "canceled: enough"


def test_park_on_takes_classes_of_exceptions() -> None:
    with pytest.raises(InvalidInput, match="no class of exceptions"):
        RuntimeOptions(park_on=("TypeError",))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="not a collection"):
        perdure.Registry().orchestration(park_on=TypeError)  # type: ignore[call-overload]
