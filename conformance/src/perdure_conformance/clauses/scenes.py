"""A scene: instances of a check that no other scene of its namespace meets, and their model."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Unpack

from perdure.contract import (
    LONGEST_LEASE,
    ActivityCompletion,
    ActivityLease,
    ActivityRequest,
    Message,
    NewActivity,
    NewInstance,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRequest,
)

from perdure_conformance.bench import Bench
from perdure_conformance.comparison.descriptions import described
from perdure_conformance.comparison.requests import Request, ask
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.samples import (
    LEASE,
    CommitFields,
    event,
    incarnation_of,
    new_instance,
    result,
)


class Scene:
    """Instances with names and tokens of their own, their model, and the calls that prepare them."""

    def __init__(self, bench: Bench, number: int) -> None:
        self.bench = bench
        self.number = number
        self.store = Store()
        self.flow = f"flow-{number}"
        self.work_name = f"work-{number}"
        self._tokens = 0

    def id(self, letter: str = "a") -> str:
        """The id of an instance of this scene."""
        return f"{letter}-{self.number}"

    def token(self) -> str:
        """A token that no call has named."""
        self._tokens += 1
        return f"token-{self.number}-{self._tokens}"

    @property
    def model(self) -> ModelProvider:
        """The model that the preparing calls went to."""
        return ModelProvider(self.store, clock=self.bench.clock, description="model")

    async def do(self, *requests: Request) -> None:
        """Make calls one after the other, each of the provider and of the model."""
        for request in requests:
            found = await ask(self.bench.provider, request)
            wanted = await ask(self.model, request)
            if found != wanted:
                raise ClauseBroken(
                    f"{described(request)}: found {described(found)}, expected {described(wanted)}"
                )

    def look(self, token: str | None = None, lease_for: timedelta = LEASE) -> TurnRequest:
        """A look for the turns of this scene."""
        serves = Serves(orchestrations={self.flow: frozenset()})
        return TurnRequest(
            token=token or self.token(), limit=100, lease_for=lease_for, serves=serves
        )

    def look_for_work(
        self, token: str | None = None, lease_for: timedelta = LEASE
    ) -> ActivityRequest:
        """A look for the activities of this scene."""
        names = frozenset({self.work_name})
        return ActivityRequest(
            token=token or self.token(), limit=100, lease_for=lease_for, names=names
        )

    def new(self, letter: str = "a", incarnation: str | None = None) -> NewInstance:
        """An instance of this scene to create."""
        return new_instance(self.id(letter), name=self.flow, incarnation=incarnation)

    def event(self, id: str = "sent", letter: str = "a") -> tuple[Message, ...]:
        """A call that sends an event."""
        return (event(id, self.id(letter)),)

    def work(self, id: str = "job", *, lease: bool = False) -> NewActivity:
        """An activity of this scene to add."""
        return NewActivity(id=id, name=self.work_name, data=b"", lease=lease)

    def held(self, token: str, letter: str = "a") -> TurnLease:
        """A turn lease."""
        return TurnLease(instance=self.id(letter), token=token)

    def held_work(self, token: str, id: str = "job") -> ActivityLease:
        """A lease of an activity of the first instance."""
        return ActivityLease(instance=self.id(), activity=id, token=token)

    def completion(self, token: str, id: str = "job") -> ActivityCompletion:
        """The completion of an activity of the first instance."""
        message = result(f"result-{id}", self.id())
        return ActivityCompletion(lease=self.held_work(token, id), message=message)

    def commit(
        self, token: str, letter: str = "a", /, **fields: Unpack[CommitFields]
    ) -> TurnCommit:
        """A commit of an instance as it is now; it removes the start message."""
        state = self.store.tables.instances[self.id(letter)].state
        commit = TurnCommit(
            id=f"commit-{self.token()}",
            instance=state.instance,
            incarnation=state.incarnation,
            token=token,
            execution=state.execution,
            expected_event=state.last_event,
            events=(b"1",),
            remove=("start",),
        )
        return replace(commit, **fields)

    async def leased(self, *letters: str, lease_for: timedelta = LEASE) -> str:
        """Create these instances and lease them; returns the token."""
        token = self.token()
        created = [self.new(letter) for letter in letters or ("a",)]
        await self.do(*created, self.look(token, lease_for))
        return token

    async def idle(self) -> None:
        """Create an instance, and take its start message away."""
        token = await self.leased()
        await self.do(self.commit(token))

    async def with_work(self, lease_for: timedelta = LEASE) -> tuple[str, str]:
        """An instance whose turn and whose activity are leased; returns both tokens."""
        token, worker = await self.leased(), self.token()
        kept = self.commit(token, add=(self.work(),), keep_for=LEASE)
        await self.do(kept, self.look_for_work(worker, lease_for))
        return token, worker

    def incarnation(self, letter: str = "a") -> str:
        """The incarnation of an instance of this scene."""
        return incarnation_of(self.id(letter))


async def mailbox_of(bench: Bench, instance: str, look: TurnRequest) -> str:
    """What the mailbox of an instance holds, found by waking the instance with another event.

    A message that is there now, and was not delivered, was not lost, but what should have made the
    instance ready was. It says so.
    """
    bench.advance(LONGEST_LEASE + timedelta(seconds=1))
    await bench.send(event("probe", instance))
    turns = {turn.state.instance: turn for turn in await bench.provider.lease_turns(look)}
    if instance not in turns:
        return f"{instance} cannot be leased even after another event and {LONGEST_LEASE}"
    ids = [message.id for message in turns[instance].messages if message.id != "probe"]
    return f"after another event and {LONGEST_LEASE} the mailbox of {instance} holds {ids}"
