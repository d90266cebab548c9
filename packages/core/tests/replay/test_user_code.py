"""Whose code a frame is: what only looks like Perdure or asyncio, by name or by place, is the user's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import OrchestrationContext, Registry
from perdure.history import OrchestrationFailed
from perdure.model.details import ApplicationFailure, Raised
from perdure.replay.signals import HistoryMismatch

from .driver import World, play

PERDURE = Path(perdure.__file__).parent
ASYNCIO = Path(asyncio.__file__).parent

LIKE_OURS = pytest.mark.parametrize(
    ("module", "file"),
    [
        pytest.param("perdure_shop.orders", f"{PERDURE}_shop/orders.py", id="beside perdure"),
        pytest.param("perdurex", f"{PERDURE}x.py", id="a name that begins like perdure"),
        pytest.param("perduring", str(PERDURE / "perduring.py"), id="a path inside perdure"),
        pytest.param("asyncio_tools.all", f"{ASYNCIO}_tools/all.py", id="beside asyncio"),
        pytest.param("shop.asyncio.perdure", "perdure/shop.py", id="our names further inside"),
    ],
)

SOURCE = """
async def subject(ctx):
    await ctx.schedule_activity("first")
    raise LookupError("nothing there")
"""


def subject(module: str, file: str, source: str = SOURCE) -> Callable[..., Any]:
    """The orchestration as a module of that name, installed in that place, would have it."""
    names: dict[str, Any] = {"__name__": module}
    exec(compile(source, file, "exec"), names)  # noqa: S102 # a module that need not be installed
    return names["subject"]


def world_of(function: Callable[..., Any]) -> World:
    app = Registry()
    app.orchestration(name="subject")(function)
    return World(app=app, name="subject", answer_activity=lambda *_: "null")


@LIKE_OURS
def test_a_trace_has_the_frames_of_user_code_whatever_it_is_called(module: str, file: str) -> None:
    world = play(world_of(subject(module, file)))

    end = world.terminal
    assert isinstance(end, OrchestrationFailed)
    assert isinstance(end.details, ApplicationFailure)
    assert isinstance(end.details.kind, Raised)
    assert end.details.kind.trace == (f"{module}:4 subject",)


@LIKE_OURS
def test_a_difference_has_the_line_of_user_code_whatever_it_is_called(
    module: str, file: str
) -> None:
    world = world_of(subject(module, file)).start()
    world.catalog = world_of(subject(module, file, SOURCE.replace("first", "other"))).catalog

    with pytest.raises(HistoryMismatch) as caught:
        world.forget()

    world.discard()
    assert caught.value.where == f"{module}:3 in subject"


def test_frames_of_perdure_and_asyncio_are_left_out() -> None:
    async def inner(ctx: OrchestrationContext) -> None:
        ctx.schedule_wait("")

    async def outer(ctx: OrchestrationContext) -> None:
        await asyncio.wait_for(inner(ctx), timeout=5)

    world = play(world_of(outer))

    end = world.terminal
    assert isinstance(end, OrchestrationFailed)
    assert isinstance(end.details, ApplicationFailure)
    assert isinstance(end.details.kind, Raised)
    assert [line.rpartition(".")[2] for line in end.details.kind.trace] == ["outer", "inner"]
