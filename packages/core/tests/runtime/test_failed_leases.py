"""A lease call that takes leases and then fails: what it took is run, and does not count."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
from perdure import RuntimeOptions
from perdure.contract import ActivityRequest, DelegatingProvider, TurnRequest
from perdure.errors import StorageUnavailable
from perdure.testing import Stage

from .wrapping import Wrapping


class LosesFirstAnswers(DelegatingProvider):
    """Takes leases, and loses the answer of the first call of each kind that took any."""

    def __init__(self, inner) -> None:
        super().__init__(inner)
        self.lost: set[str] = set()

    async def lease_turns(self, request: TurnRequest):
        return self._lose("lease_turns", await super().lease_turns(request))

    async def lease_activities(self, request: ActivityRequest):
        return self._lose("lease_activities", await super().lease_activities(request))

    def _lose(self, operation: str, leased):
        if leased and operation not in self.lost:
            self.lost.add(operation)
            raise StorageUnavailable("the answer was lost", operation=operation)
        return leased


async def test_what_a_failed_lease_call_took_is_run_when_the_runtime_asks_again(url) -> None:
    app = perdure.Registry()

    @app.activity
    async def work() -> str:
        return "done"

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> list[str]:
        # There is one slot, so one of them goes through the queue.
        return await asyncio.gather(ctx.schedule_activity(work), ctx.schedule_activity(work))

    losing = Wrapping(LosesFirstAnswers)
    options = RuntimeOptions(max_concurrent_activities=1)
    async with Stage(app, url=url, options=options, plugins=[losing]) as stage:
        assert await stage.run(main) == ["done", "done"]

        assert losing.provider.lost == {"lease_turns", "lease_activities"}
        # Under another token these leases would have to run out first, which takes 30 s.
        assert stage.elapsed < timedelta(seconds=29)
