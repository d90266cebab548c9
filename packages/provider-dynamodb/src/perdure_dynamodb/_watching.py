"""Waiting for changes of instances: one reader serves all waiters of a process.

It reads the lock items of all instances that are due in batches, at half the price of a consistent
read, first after 50 ms and then each time half as long again, up to every two seconds. It leaves out
what this process runs: its own commits and marks tell what they change there.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds
from perdure.contract import ChangeWait
from perdure.errors import ProviderError

from perdure_dynamodb._changes import Changes
from perdure_dynamodb._lease_memory import BoundedMemory
from perdure_dynamodb._locks import Lock

SHORTEST_PAUSE = timedelta(milliseconds=50)
LONGEST_PAUSE = timedelta(seconds=2)


@dataclass(slots=True, eq=False)
class _Waiter:
    wait: ChangeWait
    woken: asyncio.Future[None]
    due: Instant
    pause: int = to_microseconds(SHORTEST_PAUSE)
    """Microseconds before the next look."""

    def put_off(self, now: Instant, *, longest: bool = False) -> None:
        """Look again later, and later each time that it was due."""
        most = to_microseconds(LONGEST_PAUSE)
        if longest:
            self.pause = most
        elif self.due <= now:
            # A wait is seen to be over a quarter of its length too late, on average.
            self.pause = min(3 * self.pause // 2, most)
        # At instants that waiters share, so that one request serves many.
        grid = self.pause // 4
        self.due = ((now + self.pause) // grid + 1) * grid


class Watching:
    """The waiters of one namespace."""

    def __init__(self, changes: Changes, *, clock: Clock, runs_here: Callable[[str], bool]) -> None:
        self._changes = changes
        self._clock = clock
        self._runs_here = runs_here
        self._waiters: set[_Waiter] = set()
        self._waiters_of: dict[str, set[_Waiter]] = defaultdict(set)
        self._last_commits: BoundedMemory[str, str] = BoundedMemory()
        """By instance, the last commit of this process."""
        self._marked: BoundedMemory[str, None] = BoundedMemory()
        """Instances that this process has marked as parked since then."""
        self._came = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def wait(self, wait: ChangeWait) -> None:
        """Return when the instance differs, or after the timeout at the latest."""
        now = self._clock.now()
        # A caller that knows a commit has just read the instance; one that has started it has not.
        begins_with_a_look = wait.exists and wait.last_commit is None
        waiter = _Waiter(
            wait=wait,
            woken=asyncio.get_running_loop().create_future(),
            due=now if begins_with_a_look else now + to_microseconds(SHORTEST_PAUSE),
        )
        self._waiters.add(waiter)
        self._waiters_of[wait.instance].add(waiter)
        self._came.set()
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read_for_all())
        over = asyncio.ensure_future(self._clock.sleep(wait.timeout))
        try:
            await asyncio.wait({waiter.woken, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            self._waiters.discard(waiter)
            self._waiters_of[wait.instance].discard(waiter)
            if not self._waiters_of[wait.instance]:
                del self._waiters_of[wait.instance]

    def committed(self, instance: str, commit: str, *, continues: bool) -> None:
        """This process has committed a turn; no look is needed to know it."""
        self._last_commits[instance] = commit
        self._marked.pop(instance, None)
        self._tell(instance, continues=continues)

    def marked(self, instance: str) -> None:
        """This process may have marked the instance as parked."""
        self._marked[instance] = None
        self._tell(instance)

    def _tell(self, instance: str, *, continues: bool = False) -> None:
        for waiter in self._waiters_of.get(instance, ()):
            if not (continues and waiter.wait.until_ended) and not waiter.woken.done():
                waiter.woken.set_result(None)

    def _knows(self, wait: ChangeWait) -> bool:
        """Whether the caller has seen the last that this process did to an instance that it runs."""
        if not wait.exists or wait.instance in self._marked:
            return False
        return self._last_commits.get(wait.instance, wait.last_commit) == wait.last_commit

    def wake(self, instance: str) -> None:
        """This process has changed the instance by a call that no lease is needed for."""
        for waiter in self._waiters_of.get(instance, ()):
            waiter.due, waiter.pause = self._clock.now(), to_microseconds(SHORTEST_PAUSE)
        self._came.set()

    async def close(self) -> None:
        """End the reader."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None

    async def _read_for_all(self) -> None:
        while True:
            self._came.clear()
            if not self._waiters:
                await self._came.wait()
                continue
            now = self._clock.now()
            due = [waiter for waiter in self._waiters if waiter.due <= now]
            if due:
                instances = {waiter.wait.instance for waiter in due}
                # What is read serves those, too, that would look later.
                await self._look(
                    [each for each in self._waiters if each.wait.instance in instances], now
                )
                continue
            await self._rest(min(waiter.due for waiter in self._waiters) - now)

    async def _look(self, waiters: Sequence[_Waiter], now: Instant) -> None:
        wanted: list[_Waiter] = []
        for waiter in waiters:
            runs_here = self._runs_here(waiter.wait.instance)
            waiter.put_off(now, longest=runs_here)
            if not runs_here or not self._knows(waiter.wait):
                wanted.append(waiter)
        # What cannot be read now is looked at again later.
        with suppress(ProviderError):
            locks = await self._changes.read_locks(
                tuple(dict.fromkeys(waiter.wait.instance for waiter in wanted)), consistent=False
            )
            _wake(wanted, locks)

    async def _rest(self, pause: int) -> None:
        resting = asyncio.ensure_future(self._clock.sleep(timedelta(microseconds=pause)))
        coming = asyncio.ensure_future(self._came.wait())
        try:
            await asyncio.wait({resting, coming}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            resting.cancel()
            coming.cancel()


def _wake(waiters: Sequence[_Waiter], locks: Mapping[str, Lock | None]) -> None:
    for waiter in waiters:
        if not waiter.woken.done() and _differs(waiter.wait, locks[waiter.wait.instance]):
            waiter.woken.set_result(None)


def _differs(wait: ChangeWait, lock: Lock | None) -> bool:
    if lock is None:
        return wait.exists
    if not wait.exists or not lock.is_sound:
        return True
    if wait.until_ended and lock.running:
        return lock.state(None).parked != wait.parked
    return lock.last_commit != wait.last_commit or lock.state(None).parked != wait.parked
