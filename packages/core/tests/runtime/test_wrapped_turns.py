"""Wrappers of turns: they see each turn, and whatever they do, the turn counts."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Awaitable, Callable

import perdure
import pytest
from perdure.contract import DelegatingProvider, TurnWrapper
from perdure.errors import InvalidInput, StorageFailed
from perdure.observe import TurnCall
from perdure.testing import Stage

from .wrapping import Wrapping

Proceed = Callable[[], Awaitable[None]]
WHO = contextvars.ContextVar("who", default="outside")
app = perdure.Registry()


@app.activity
async def seen_by_activity() -> str:
    return WHO.get()


@app.orchestration
async def ask(ctx: perdure.OrchestrationContext) -> list[str]:
    return [WHO.get(), await ctx.schedule_activity(seen_by_activity)]


class Plugin:
    """Wraps turns by this function."""

    def __init__(self, wrapper: object) -> None:
        self._wrapper = wrapper

    @perdure.hookimpl
    def perdure_wrap_turn(self) -> TurnWrapper:
        return self._wrapper  # type: ignore[return-value] # one test gives something else


async def test_wrappers_see_each_turn_and_only_the_storage_sees_their_context() -> None:
    calls: list[tuple[str, TurnCall]] = []
    commits: list[str] = []

    def named(name: str) -> Plugin:
        async def wrapper(call: TurnCall, proceed: Proceed) -> None:
            calls.append((name, call))
            token = WHO.set(name)
            await proceed()
            WHO.reset(token)

        return Plugin(wrapper)

    class Watched(DelegatingProvider):
        async def commit_turn(self, commit):
            commits.append(WHO.get())
            return await super().commit_turn(commit)

    plugins = [named("outer"), named("inner"), Wrapping(Watched)]
    async with Stage(app, plugins=plugins) as stage:
        handle = await stage.client.start_orchestration("one", "ask", headers={"tenant": "acme"})

        assert await handle.result() == ["outside", "outside"]
    assert [name for name, _ in calls] == ["outer", "inner"] * len(commits)
    assert set(commits) == {"inner"}
    told = {(each.instance, each.execution, each.orchestration) for _, each in calls}
    assert told == {("one", 1, "ask")}
    assert {tuple(each.headers.items()) for _, each in calls} == {(("tenant", "acme"),)}


async def raises_before(call: TurnCall, proceed: Proceed) -> None:
    raise ValueError("before")


async def raises_after(call: TurnCall, proceed: Proceed) -> None:
    await proceed()
    raise ValueError("after")


async def proceeds_twice(call: TurnCall, proceed: Proceed) -> None:
    await proceed()
    await proceed()


async def leaves_it_out(call: TurnCall, proceed: Proceed) -> None:
    pass


@pytest.mark.parametrize("wrapper", [raises_before, raises_after, proceeds_twice, leaves_it_out])
async def test_the_turn_counts_whatever_its_wrapper_does(wrapper, caplog) -> None:
    with caplog.at_level(logging.ERROR, "perdure.runtime"):
        async with Stage(app, plugins=[Plugin(wrapper)]) as stage:
            handle = await stage.client.start_orchestration("one", "ask")

            assert await handle.result() == ["outside", "outside"]
            assert len(await stage.history("one")) == 4
    said = {record.getMessage() for record in caplog.records}
    expected = "a wrapper of the turns of instance 'one' raised; the turn counts all the same"
    assert said == (set() if wrapper is leaves_it_out else {expected})


async def test_a_turn_that_was_refused_stays_so_if_its_wrapper_says_nothing_of_it() -> None:
    errors: list[Exception] = []

    async def swallows(call: TurnCall, proceed: Proceed) -> None:
        try:
            await proceed()
        except StorageFailed as error:
            errors.append(error)

    class Refusing(DelegatingProvider):
        refused = False

        async def commit_turn(self, commit):
            if self.refused:
                return await super().commit_turn(commit)
            Refusing.refused = True
            raise StorageFailed("the disk is full", operation="commit_turn")

    async with Stage(app, plugins=[Plugin(swallows), Wrapping(Refusing)]) as stage:
        handle = await stage.client.start_orchestration("one", "ask")

        assert await handle.result() == ["outside", "outside"]
    assert len(errors) == 1


async def test_a_wrapper_that_cannot_be_called_is_refused() -> None:
    async with perdure.open_provider("memory://") as provider:
        with pytest.raises(InvalidInput, match="perdure_wrap_turn returned 3"):
            perdure.Runtime(provider, app, plugins=[Plugin(3)])
