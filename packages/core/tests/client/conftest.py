"""A provider on a manual clock, a client of it, and what plays the runtime's part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TypeVar

import perdure
import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceStatus,
    LeasedTurn,
    ManualClock,
    Message,
    MessageKind,
    NewChild,
    NewInstance,
    ParentLink,
    ParkedMark,
    Provider,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.history import Event, encode_event
from perdure.model.details import ErrorDetails
from perdure.model.identifiers import child_incarnation
from perdure.model.wire import StartData, encode_details, encode_start

T = TypeVar("T")

NAMES = ("Greet", "Sum", "Other")


class Turns:
    """Stores turns by the contract's own methods, also such as no engine would make."""

    def __init__(self, provider: Provider, clock: ManualClock) -> None:
        self.provider = provider
        self.clock = clock
        self._numbers = count(1)

    async def settle(self, condition: Callable[[], bool]) -> None:
        """Let the event loop turn until the condition holds, for five real seconds at most."""
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 # there is no event for it
                await asyncio.sleep(0)

    async def asleep(self) -> None:
        """Let the event loop turn until a call sleeps on the clock."""
        await self.settle(lambda: self.clock.next_due is not None)

    async def pass_time(self, task: asyncio.Task[T]) -> T:
        """Move the clock from sleeper to sleeper until the task is done; returns its result."""
        async with asyncio.timeout(60):
            while not task.done():
                due = self.clock.next_due
                if due is not None:
                    self.clock.advance(timedelta(microseconds=max(0, due - self.clock.now())))
                await asyncio.sleep(0)
        return task.result()

    async def lease(self, instance: str) -> LeasedTurn:
        """Lease the instance's turn, whatever else is ready."""
        request = TurnRequest(
            token=f"token-{next(self._numbers)}",
            limit=100,
            lease_for=timedelta(seconds=30),
            serves=Serves(orchestrations={name: frozenset({"1.0.0", "2.0.0"}) for name in NAMES}),
        )
        wanted = None
        for turn in await self.provider.lease_turns(request):
            if turn.state.instance == instance:
                wanted = turn
            else:
                await self._release(turn, parked=None)
        assert wanted is not None, f"{instance} is not ready"
        return wanted

    async def complete(self, instance: str, output: str, *events: Event) -> None:
        """End the instance as Completed, with this JSON text."""
        end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=output.encode())
        await self.commit(await self.lease(instance), *events, end=end)

    async def fail(self, instance: str, details: ErrorDetails | bytes, *events: Event) -> None:
        """End the instance as Failed, with these details or this output."""
        output = details if isinstance(details, bytes) else encode_details(details)
        end = ExecutionEnd(status=InstanceStatus.FAILED, output=output)
        await self.commit(await self.lease(instance), *events, end=end)

    async def continue_as_new(self, instance: str, *events: Event) -> None:
        """End the newest execution and begin the next."""
        turn = await self.lease(instance)
        start = Message(
            id=f"start:{turn.state.execution + 1}",
            instance=instance,
            kind=MessageKind.START,
            incarnation=turn.state.incarnation,
            data=encode_start(StartData(input="null")),
        )
        end = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)
        await self.commit(turn, *events, end=end, front=(start,))

    async def step(self, instance: str, *events: Event | bytes) -> None:
        """Append events and go on."""
        await self.commit(await self.lease(instance), *events)

    async def start_child(self, parent: str, child: str, *events: Event, event: int = 1) -> None:
        """Create a child of a running instance, whose schedule event has this number."""
        turn = await self.lease(parent)
        link = ParentLink(
            instance=parent, incarnation=turn.state.incarnation, execution=1, event=event
        )
        incarnation = child_incarnation(turn.state.incarnation, 1, event)
        start = Message(
            id="start:child",
            instance=child,
            kind=MessageKind.START,
            incarnation=incarnation,
            data=encode_start(StartData(input="null")),
        )
        new = NewInstance(
            instance=child, incarnation=incarnation, name="Sum", start=start, parent=link
        )
        await self.commit(turn, *events, create=(NewChild(instance=new),))

    async def park(self, instance: str, reason: str, details: str) -> None:
        """Give the turn back as parked."""
        turn = await self.lease(instance)
        await self._release(turn, parked=ParkedMark(reason=reason, details=details))
        self.provider.notifier.notify_instance(instance)

    async def commit(
        self,
        turn: LeasedTurn,
        *events: Event | bytes,
        end: ExecutionEnd | None = None,
        front: tuple[Message, ...] = (),
        create: tuple[NewChild, ...] = (),
        notify: bool = True,
    ) -> None:
        """Commit the turn with all its messages consumed."""
        await self.provider.commit_turn(
            TurnCommit(
                id=f"commit-{next(self._numbers)}",
                instance=turn.state.instance,
                incarnation=turn.state.incarnation,
                token=turn.token,
                execution=turn.state.execution,
                expected_event=turn.state.last_event,
                events=tuple(
                    event if isinstance(event, bytes) else encode_event(event) for event in events
                ),
                remove=tuple(message.id for message in turn.messages),
                front=front,
                create=create,
                end=end,
            )
        )
        if notify:
            self.provider.notifier.notify_instance(turn.state.instance)

    async def _release(self, turn: LeasedTurn, parked: ParkedMark | None) -> None:
        lease = TurnLease(instance=turn.state.instance, token=turn.token)
        await self.provider.release_turn(TurnRelease(lease=lease, counted=False, parked=parked))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory://", "sqlite:///{directory}/client.db"], ids=["memory", "sqlite"])
async def provider(
    request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Provider]:
    url = request.param.format(directory=tmp_path)
    async with perdure.open_provider(url, clock=clock) as opened:
        yield opened


@pytest.fixture
def client(provider: Provider) -> perdure.Client:
    return perdure.Client(provider)


@pytest.fixture
def turns(provider: Provider, clock: ManualClock) -> Turns:
    return Turns(provider, clock)
