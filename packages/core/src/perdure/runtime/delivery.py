"""A turn as a function of what came in: messages and results, delivered to the execution in order.

No I/O. It pauses between two events when its slice of the host's loop is over.

- A cancellation wins over the messages that came with it; only the start comes before it.
- An instance that was leased before without a commit gets its messages one by one, so that the
  message at fault is found (LEASE-8).
- A start that names a history to begin with has a turn of its own: the turn puts messages to the
  front, which come before those that are in hand.
- A message that cannot be decoded stays in the mailbox, and so do those behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perdure.clock import Instant
from perdure.model.parked_reasons import UNDECODABLE
from perdure.model.wire import starts_a_copy
from perdure.records.instances import InstanceState, Message, MessageKind
from perdure.replay.execution import STEP, Execution
from perdure.replay.signals import UndecodableData
from perdure.runtime.activity_leases import HeldActivity
from perdure.runtime.host_loop import Pacer
from perdure.runtime.parking import parked_and_cancelled


class Delivery:
    """What one lease has in hand: an execution, and what is to be delivered to it."""

    __slots__ = (
        "_one_by_one",
        "_state",
        "cancel",
        "consumed",
        "dropped",
        "execution",
        "messages",
        "more",
        "results",
        "taken",
    )

    def __init__(
        self, state: InstanceState, messages: Sequence[Message], *, more: bool, one_by_one: bool
    ) -> None:
        self._state = state
        self._one_by_one = one_by_one
        self.execution: Execution | None = None
        """None before the first turn."""
        self.messages: list[Message] = []
        self.cancel: Message | None = None
        """A request to cancel that came under this lease."""
        self.more = False
        """Whether the mailbox has further messages."""
        self.results: list[HeldActivity] = []
        """Activities that have ended, and that no turn has taken yet."""
        self.consumed: list[str] = []
        """The ids of the messages that the last `deliver` has delivered."""
        self.taken: list[HeldActivity] = []
        """Those whose result the execution has, until the commit that finishes them stands."""
        self.dropped: list[HeldActivity] = []
        """Those whose result the execution does not want any more."""
        self.add(messages, more=more)

    def add(self, messages: Sequence[Message], *, more: bool) -> None:
        """Have further messages in hand."""
        if messages:
            self.messages.extend(_cancel_first(messages))
            self.cancel = self.cancel or _cancel_of(messages)
        self.more = more

    @property
    def has_work(self) -> bool:
        """Whether there is something to deliver."""
        return bool(self.messages or self.results)

    @property
    def start_of_copy(self) -> Message | None:
        """The start message, if it names a history to begin with; None for others, and later on."""
        if self.execution is not None or not self.messages:
            return None
        first = self.messages[0]
        is_copy = first.kind is MessageKind.START and starts_a_copy(first.data)
        return first if is_copy else None

    @property
    def payload(self) -> int:
        """How many bytes there are to deliver."""
        size = 0
        for message in self.messages:
            size += len(message.data)
        for held in self.results:
            if held.result is not None and held.result.result is not None:
                size += len(held.result.result)
        return size

    @property
    def all_messages(self) -> list[Message]:
        """What is in hand, and the request to cancel, for an end without the code."""
        return [*self.messages, *([self.cancel] if self.cancel else [])]

    async def deliver(
        self, begin: Callable[[Message], Execution], now: Instant, most_results: int, pacer: Pacer
    ) -> UndecodableData | None:
        """Give the execution its messages and results; returns why a message stays undelivered.

        In slices, so that many messages, and one that wakes much, do not hold up the host's loop.
        `begin` makes the execution of a start message. Raises what it raises.
        """
        self.consumed = []
        undecodable = None
        if self.messages:
            undecodable = await self._deliver_messages(begin, now, pacer)
        execution = self.execution
        if undecodable is None and execution is not None and self.results:
            await self._deliver_results(execution, now, most_results, pacer)
        return undecodable

    async def _deliver_messages(
        self, begin: Callable[[Message], Execution], now: Instant, pacer: Pacer
    ) -> UndecodableData | None:
        alone = self._one_by_one or self.start_of_copy is not None
        limit = 1 if alone else len(self.messages)
        try:
            for message in self.messages[:limit]:
                if self.execution is None:
                    if message.kind is not MessageKind.START:
                        raise UndecodableData(
                            f"message {message.id!r} came where the start message was due"
                        )
                    self.execution = begin(message)
                else:
                    self.execution.accept(message, now, STEP)
                self.consumed.append(message.id)
                while not self.execution.is_quiet:
                    await pacer.pause()
                    self.execution.run_on(STEP)
                await pacer.pause()
                if self.execution.terminal is not None:
                    break
        except UndecodableData as error:
            cancelled = parked_and_cancelled(self._state, UNDECODABLE, self.all_messages)
            if self.execution is None or cancelled is None:
                return error
            # What its cleanup waits for may lie behind the message, and never be delivered.
            self.execution.fail_cleanup(cancelled)
        finally:
            del self.messages[: len(self.consumed)]
        return None

    async def _deliver_results(
        self, execution: Execution, now: Instant, most: int, pacer: Pacer
    ) -> None:
        delivered = 0
        try:
            for held in self.results:
                if len(self.taken) >= most or execution.terminal is not None:
                    break
                delivered += 1
                result = held.result
                kind = MessageKind.ACTIVITY
                if result is None or not execution.accept_result(kind, result, now, STEP):
                    # It was cancelled meanwhile: the commit that did it removed the activity.
                    self.dropped.append(held)
                    continue
                self.taken.append(held)
                while not execution.is_quiet:
                    await pacer.pause()
                    execution.run_on(STEP)
                await pacer.pause()
        finally:
            del self.results[:delivered]

    def take_back(self) -> None:
        """The turn is void: its results go their own way."""
        self.results[:0] = self.taken
        self.taken.clear()


def _cancel_of(messages: Sequence[Message]) -> Message | None:
    return next((message for message in messages if message.kind is MessageKind.CANCEL), None)


def _cancel_first(messages: Sequence[Message]) -> list[Message]:
    return sorted(messages, key=_urgency)


def _urgency(message: Message) -> int:
    return _URGENCY.get(message.kind, 2)


_URGENCY = {MessageKind.START: 0, MessageKind.CANCEL: 1}
