"""Time in a test: what is under way, what becomes due, and the jumps of the clock between them.

Time stands still while anything can happen without it: a call to the storage, a turn, an activity,
a callback of the event loop. Only when nothing moves, and the test waits for an instance, the
clock jumps to the next instant at which something becomes due. What becomes due is read from the
calls to the storage that pass by: visible messages, delays and the leases of a crashed runtime.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from perdure.clock import Instant, ManualClock, to_datetime, to_microseconds
from perdure.contract.notifier import Notifier
from perdure.errors import PerdureError
from perdure.model.shown import shown

_QUIET_ROUNDS = 4
"""Rounds of the event loop without a call or a callback after which nothing moves."""
_SHORT_SLEEPS = to_microseconds(timedelta(seconds=2))
"""How long after a change the sleeps of the runtime are gone through one by one."""
_LONGEST_OUTAGE = to_microseconds(timedelta(minutes=10))
"""How long after a call failed they are, unless it succeeds: the runtime waits to repeat it."""


class NothingHappens(PerdureError):
    """The test waits for what can never happen: nothing is under way, nothing is due.

    The message says where the instance stands, if the test waits for one. Raise the event that it
    waits for, or fake the activity that fails.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Awaited:
    """A wait of the test for the end of an instance."""

    instance: str
    until: Instant | None
    """When it times out."""
    failed: asyncio.Future[None]
    """Gets the error if the wait can never end."""


class StageTime:
    """See the module."""

    def __init__(
        self,
        clock: ManualClock,
        notifier: Notifier,
        busy: Callable[[], bool],
        lingers: Callable[[], bool] = lambda: False,
    ) -> None:
        """`busy` tells whether an activity is under way.

        `lingers` tells whether a function is still in its thread although its attempt is over. Time
        passes without it; but where nothing else is left, it may still bring something about.
        """
        self.clock = clock
        self._notifier = notifier
        self._busy = busy
        self._lingers = lingers
        self._calls = 0
        self._pauses = 0
        self._changed_at = clock.now()
        self._looked_at = 0
        self._failing: dict[tuple[object, str], Instant] = {}
        self._due: list[Instant] = []
        self._awaited: set[Awaited] = set()
        self._sleeping = 0
        self._wanted = asyncio.Event()
        self._jumps = asyncio.Lock()

    # What passes by

    @contextmanager
    def call(self, *, changes: bool) -> Generator[None]:
        """A call to the storage is under way in the block; `changes` tells whether it may write."""
        self._calls += 1
        if changes:
            self._changed_at = self.clock.now()
        try:
            yield
        finally:
            self._calls -= 1

    @property
    def since_change(self) -> timedelta:
        """How long ago the last call to the storage was that may have written."""
        return timedelta(microseconds=self.clock.now() - self._changed_at)

    def failed(self, caller: object, operation: str) -> None:
        """A call to the storage has failed, so the caller repeats it when it has waited."""
        self._failing.setdefault((caller, operation), self.clock.now())

    def succeeded(self, caller: object, operation: str) -> None:
        """A call to the storage has succeeded."""
        self._failing.pop((caller, operation), None)

    def forget_failures(self, caller: object) -> None:
        """The caller has crashed: it repeats nothing."""
        self._failing = {call: at for call, at in self._failing.items() if call[0] is not caller}

    @contextmanager
    def paused(self) -> Generator[None]:
        """In the block a runtime ends and another one begins: no time skips meanwhile."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1

    def due_at(self, instant: Instant | None) -> None:
        """Something becomes due at this instant."""
        if instant is not None and instant > self.clock.now():
            heapq.heappush(self._due, instant)

    def due_after(self, delay: timedelta) -> None:
        """Something becomes due after this delay."""
        self.due_at(self.clock.now() + to_microseconds(delay))

    @contextmanager
    def awaiting(self, instance: str, timeout: timedelta | None) -> Generator[asyncio.Future[None]]:
        """The test waits for an instance in the block; the future gets an error if it waits in vain."""
        until = None if timeout is None else self.clock.now() + to_microseconds(timeout)
        failed = asyncio.get_running_loop().create_future()
        awaited = Awaited(instance, until, failed)
        self._awaited.add(awaited)
        self._wanted.set()
        try:
            yield failed
        finally:
            failed.cancel()
            self._awaited.discard(awaited)
            self._clear_if_unwanted()

    @contextmanager
    def sleeping(self, duration: timedelta) -> Generator[None]:
        """A call of the test sleeps in the block, such as between two attempts to store a start."""
        self.due_after(duration)
        self._sleeping += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._sleeping -= 1
            self._clear_if_unwanted()

    def _clear_if_unwanted(self) -> None:
        if not self._awaited and not self._sleeping:
            self._wanted.clear()

    def wake_waits(self) -> None:
        """Let waits look again: a runtime that has crashed may have told of no change."""
        for awaited in self._awaited:
            self._notifier.notify_instance(awaited.instance)

    # While the clock stands

    async def settle(self) -> None:
        """Return when nothing can happen before time passes or the test does something."""
        await self._until_quiet(lambda: self._is_moving() or self._busy())

    def _is_moving(self) -> bool:
        return self._calls > 0 or self._pauses > 0

    async def _until_quiet(self, moving: Callable[[], bool]) -> None:
        quiet = 0
        while quiet < _QUIET_ROUNDS:
            quiet = await self._next_look(quiet, moving)

    async def _next_look(self, quiet: int, moving: Callable[[], bool]) -> int:
        """Let one round of the event loop pass; returns how many were quiet in a row."""
        if _has_ready_callbacks():
            await _next_round()
            return 0
        if moving():
            # A thread, a socket or an activity is at work: do not spin meanwhile.
            await asyncio.sleep(0.0005)
            return 0
        await _next_round()
        return quiet + 1

    # Passing

    async def skip_for_ever(self, why_stuck: Callable[[str], Awaitable[str | None]]) -> None:
        """Let time pass whenever the test waits for an instance, or sleeps, and nothing moves.

        `why_stuck` says why an instance can't go on by itself, or None if only time is missing.
        """
        while True:
            await self._wanted.wait()
            await self.settle()
            async with self._jumps:
                # A runtime may have crashed while another one moved the time.
                if self._pauses or not self._wanted.is_set() or self._step_to(self._next_sleep()):
                    continue
                await self._jump(why_stuck)

    async def _jump(self, why_stuck: Callable[[str], Awaitable[str | None]]) -> None:
        for awaited in tuple(self._awaited):
            why = await why_stuck(awaited.instance)
            if self._is_moving():
                return  # since this looked
            if why is None and self._next_due() is None:
                if self._changed_at > self._looked_at:
                    self._look_for_unregistered()
                    return
                if self._lingers():
                    await asyncio.sleep(0.0005)
                    return
                why = "nothing is under way and nothing is due"
            if why is not None and not awaited.failed.done():
                awaited.failed.set_exception(
                    NothingHappens(f"instance {awaited.instance!r} does not go on: {why}")
                )
                await asyncio.sleep(0)
                return
        self._step_to(self._next_due())

    def _look_for_unregistered(self) -> None:
        """Let the runtime find, and mark, what waits because no process has registered it."""
        self._looked_at = self.clock.now() + _SHORT_SLEEPS
        self._step_to(self._looked_at)

    async def until(self, condition: Callable[[], object], within: timedelta) -> None:
        """Let time pass whenever nothing moves, until the condition holds."""
        end, quiet = self.clock.now() + to_microseconds(within), 0
        while not await _holds(condition):
            if quiet < _QUIET_ROUNDS or self._jumps.locked():
                quiet = await self._next_look(quiet, lambda: self._is_moving() or self._busy())
                continue
            quiet = 0
            async with self._jumps:
                instant = self._next_sleep() or self._next_due()
                if instant is None and self._lingers():
                    await asyncio.sleep(0.0005)
                    continue
                if instant is None or instant > end:
                    why = "nothing is due" if instant is None else f"{within} are over"
                    raise NothingHappens(
                        f"the condition {shown(condition)} does not come true: nothing is under"
                        f" way and {why}"
                    )
                self._step_to(instant)

    async def advance(self, duration: timedelta) -> None:
        """Let this much time pass, and everything happen that becomes due in it.

        Time passes beside activities that run, in steps that keep their leases.
        """
        end = self.clock.now() + to_microseconds(duration)
        async with self._jumps:
            while self.clock.now() < end:
                await self._until_quiet(self._is_moving)
                sleep = self.clock.next_due if self._busy() else self._next_sleep()
                stops = [end, *filter(None, (sleep, self._next_due()))]
                self._step_to(max(min(stops), self.clock.now() + 1))
            await self._until_quiet(self._is_moving)

    async def run(self, work: Coroutine[Any, Any, object]) -> None:
        """Let time pass until the work is done, sleep by sleep."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await self._until_quiet(lambda: self._calls > 0)
                if not task.done() and not self._step_to(self.clock.next_due):
                    await asyncio.sleep(0.0005)  # a thread is at work
            task.result()
        finally:
            task.cancel()

    def _next_sleep(self) -> Instant | None:
        """The end of a sleep of the runtime that belongs to what has just happened or failed."""
        latest = self._changed_at + _SHORT_SLEEPS
        if self._failing:
            latest = max(latest, max(self._failing.values()) + _LONGEST_OUTAGE)
        sleep = self.clock.next_due
        return sleep if sleep is not None and sleep <= latest else None

    def _next_due(self) -> Instant | None:
        now = self.clock.now()
        while self._due and self._due[0] <= now:
            heapq.heappop(self._due)
        deadlines = [each.until for each in self._awaited if each.until is not None]
        return min([*self._due[:1], *(each for each in deadlines if each > now)], default=None)

    def _step_to(self, instant: Instant | None) -> bool:
        if instant is None:
            return False
        self.clock.advance(timedelta(microseconds=max(0, instant - self.clock.now())))
        # The runtime sleeps longer than this step: it looks for what has become due.
        self._notifier.notify_turns()
        self._notifier.notify_activities()
        return True

    def __repr__(self) -> str:
        return f"<StageTime at {to_datetime(self.clock.now())}>"


async def _holds(condition: Callable[[], object]) -> bool:
    holds = condition()
    return bool(await holds if inspect.isawaitable(holds) else holds)


_looking: Counter[asyncio.AbstractEventLoop] = Counter()
"""How many tasks of an event loop wait for its next round only to look whether it is quiet."""


async def _next_round() -> None:
    loop = asyncio.get_running_loop()
    _looking[loop] += 1
    try:
        await asyncio.sleep(0)
    finally:
        _looking[loop] -= 1
        if not _looking[loop]:
            del _looking[loop]


def _has_ready_callbacks() -> bool:
    """Whether anything else is about to run in this round of the event loop, but other looks."""
    loop = asyncio.get_running_loop()
    # No public interface tells it; without this one a chain of callbacks would look quiet.
    return len(getattr(loop, "_ready", ())) > _looking[loop]
