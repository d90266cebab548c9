"""A lease call that takes leases and then fails: what it took is run, and does not count."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
from perdure import Runtime, RuntimeOptions
from perdure.contract import ActivityRequest, DelegatingProvider, TurnRequest
from perdure.errors import StorageUnavailable


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


async def test_what_a_failed_lease_call_took_is_run_when_the_runtime_asks_again(
    timed_provider, clock, pass_time
) -> None:
    app = perdure.Registry()

    @app.activity
    async def work() -> str:
        return "done"

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> list[str]:
        # There is one slot, so one of them goes through the queue.
        return await asyncio.gather(ctx.schedule_activity(work), ctx.schedule_activity(work))

    provider = LosesFirstAnswers(timed_provider)
    handle = await perdure.Client(timed_provider).start_orchestration("i", main)
    started = clock.now()
    options = RuntimeOptions(max_concurrent_activities=1)
    async with Runtime(provider, app, options=options):

        async def ended() -> bool:
            return isinstance(await handle.status(), perdure.Completed)

        await pass_time(ended, step=timedelta(milliseconds=50))

    assert provider.lost == {"lease_turns", "lease_activities"}
    # Under another token these leases would have to run out first, which takes 30 s.
    # Before the leases would have been over; the clock moves on while the storage is slow.
    assert clock.now() - started < 29_000_000
