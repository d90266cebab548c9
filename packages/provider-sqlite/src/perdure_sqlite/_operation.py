"""One call of the contract on its way through a group: who waits for it, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar, cast

from perdure.errors import PerdureError

from perdure_sqlite._session import Session

Result = TypeVar("Result")


class Operation(Generic[Result]):
    """One call of the contract, and who waits for it."""

    __slots__ = (
        "alone",
        "begun",
        "error",
        "future",
        "left",
        "name",
        "result",
        "run",
        "settled",
        "undo",
        "volatile",
    )

    def __init__(
        self,
        name: str,
        run: Callable[[Session], Result],
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
        """Whether it gets a transaction of its own, since its group failed."""
        self.begun = False
        """Whether it belongs to the group that runs: it can be taken back no more."""
        self.settled: asyncio.Future[None] | None = None
        self.left = False
        """Whether its group is over for it, so that there is nothing to settle any more."""
        self.result: Result | None = None
        self.error: PerdureError | None = None

    def perform(self, session: Session) -> None:
        """Run it; a refusal is an answer, anything else concerns the group."""
        session.now = session.clock.now()
        self.result = self.error = None
        try:
            self.result = self.run(session)
        except PerdureError as error:
            self.error = error

    async def wait(self) -> Result:
        """The answer. Cancelled, it is taken back, or waited for to the end of its group.

        So whoever was cancelled finds the file as it stays: changed, or not.
        """
        try:
            return await self.future
        except asyncio.CancelledError:
            if not self.future.cancelled():
                # Answered, and cancelled before the caller could see it.
                self._abandon()
            elif self.begun and not self.left:
                await self._settle()
            raise

    def answer(self) -> None:
        """Tell who waits, or undo what nobody waits for any more."""
        if self.future.cancelled():
            self._abandon()
            self.leave()
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast("Result", self.result))

    def fail(self, error: BaseException) -> None:
        """It was not carried out."""
        if not self.future.done():
            self.future.set_exception(error)
        self.leave()

    def leave(self) -> None:
        """It will not be carried out any more, or nobody waits for the answer."""
        # Between a cancellation and the caller's next step its group may have ended already.
        self.left = True
        if self.settled is not None and not self.settled.done():
            self.settled.set_result(None)

    def _abandon(self) -> None:
        if self.error is None and self.undo is not None:
            self.undo(cast("Result", self.result))

    async def _settle(self) -> None:
        self.settled = asyncio.get_running_loop().create_future()
        while not self.settled.done():
            # A second cancellation changes nothing: the caller raises the first one.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self.settled])
