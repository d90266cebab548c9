"""One write on its way through a group: its caller, and its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar, cast

from perdure.errors import PerdureError

from perdure_sqlite._writes.transaction import Transaction

Result = TypeVar("Result")


class PendingWrite(Generic[Result]):
    """One writing call of the contract, and the future that its caller waits for."""

    __slots__ = (
        "alone",
        "begun",
        "error",
        "future",
        "left",
        "name",
        "over",
        "result",
        "run",
        "undo",
        "volatile",
    )

    def __init__(
        self,
        name: str,
        run: Callable[[Transaction], Result],
        future: asyncio.Future[Result],
        *,
        volatile: bool,
        undo: Callable[[Result], None] | None,
    ) -> None:
        self.name = name
        self.run = run
        self.future = future
        self.volatile = volatile
        self.undo = undo
        self.alone = False
        """Whether it gets a transaction of its own, because its group failed."""
        self.begun = False
        """Whether it belongs to the group that runs, and can no longer be withdrawn."""
        self.over: asyncio.Future[None] | None = None
        self.left = False
        """Whether its group is over, so that a cancelled caller has nothing to wait for."""
        self.result: Result | None = None
        self.error: PerdureError | None = None

    def perform(self, transaction: Transaction) -> None:
        """Run it. A `PerdureError` is its answer; any other error rolls the group back."""
        transaction.now = transaction.clock.now()
        self.result = self.error = None
        try:
            self.result = self.run(transaction)
        except PerdureError as error:
            self.error = error

    async def wait(self) -> Result:
        """The answer. A cancelled caller withdraws the write, or waits until its group is over.

        After the cancellation the file therefore does not change any more on behalf of the caller.
        """
        try:
            return await self.future
        except asyncio.CancelledError:
            if not self.future.cancelled():
                # The answer came, and the caller was cancelled before it could receive it.
                self._abandon()
            elif self.begun and not self.left:
                await self._wait_for_group()
            raise

    def answer(self) -> None:
        """Answer the caller, or undo the result if the caller was cancelled."""
        if self.future.cancelled():
            self._abandon()
            self.leave()
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast("Result", self.result))

    def fail(self, error: BaseException) -> None:
        """Fail the call: the write was not carried out."""
        if not self.future.done():
            self.future.set_exception(error)
        self.leave()

    def leave(self) -> None:
        """Record that the group is over for this write."""
        # The group may end between a cancellation and the caller's next step.
        self.left = True
        if self.over is not None and not self.over.done():
            self.over.set_result(None)

    def _abandon(self) -> None:
        if self.error is None and self.undo is not None:
            self.undo(cast("Result", self.result))

    async def _wait_for_group(self) -> None:
        self.over = asyncio.get_running_loop().create_future()
        while not self.over.done():
            # A second cancellation changes nothing, because the caller raises the first one.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self.over])
