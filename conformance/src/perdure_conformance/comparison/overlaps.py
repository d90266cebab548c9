"""What two calls that overlap may do together, by "Calls that overlap" of the contract.

A call is a number of steps, and each step knows the provider's answer to it. `states_after` takes the
steps of both calls in every order on the model, and returns the states that agree with all answers;
`orders_after` tells the order of each, too, and `order_count` how many there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from math import factorial, prod
from typing import TypeAlias

from perdure.clock import ManualClock
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CommitAnswer,
    InstanceReopening,
    InstanceTermination,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewInstance,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)

from perdure_conformance.comparison.requests import (
    ActivityRenewal,
    Answer,
    Deletion,
    EarlyDeletion,
    NamespaceDeletion,
    Pruning,
    Request,
    TurnRenewal,
    ask,
    asked_token,
    method_of,
    named_tokens,
)
from perdure_conformance.comparison.states import copy_of, identity, view_of
from perdure_conformance.model import ModelProvider, Store


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a call, by a name for people."""

    name: str
    take: Callable[[Store], Awaitable[bool]]
    """Changes the model as this part does; tells whether the provider's answer agrees."""


Track: TypeAlias = Sequence[Step]
"""Steps that come in this order. The tracks of a call come in any."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call and what the provider answered."""

    request: Request
    found: Answer


ALONE = (Pruning, EarlyDeletion, NamespaceDeletion)


def may_overlap(first: Request, second: Request) -> bool:
    """Whether a caller may make both at once: none names the token that the other leases under.

    A deletion of several things takes effect for each by itself, and has no other call beside it.
    """
    if isinstance(first, ALONE) or isinstance(second, ALONE):
        return False
    return asked_token(first) not in named_tokens(second) and asked_token(
        second
    ) not in named_tokens(first)


async def states_after(
    states: Sequence[Store], exchanges: tuple[Exchange, Exchange], *, clock: ManualClock
) -> list[Store]:
    """The states in which the two calls may have left the model; none where the answers are wrong."""
    return [outcome.state for outcome in await orders_after(states, exchanges, clock=clock)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A state of the model after two calls, and an order of their steps that leads to it."""

    state: Store
    order: tuple[str, ...]


async def orders_after(
    states: Sequence[Store], exchanges: tuple[Exchange, Exchange], *, clock: ManualClock
) -> list[Outcome]:
    """As `states_after`, each state with an order of the steps."""
    found: dict[Hashable, Outcome] = {}
    for state in states:
        state.now = clock.now()
        await _explore(state, _all_tracks(state, exchanges, clock), found)
    return list(found.values())


def order_count(
    states: Sequence[Store], exchanges: tuple[Exchange, Exchange], *, clock: ManualClock
) -> int:
    """In how many orders the steps of the two calls can come."""
    lengths = [len(track) for track in _all_tracks(states[0], exchanges, clock)]
    return factorial(sum(lengths)) // prod(map(factorial, lengths))


def _all_tracks(
    state: Store, exchanges: tuple[Exchange, Exchange], clock: ManualClock
) -> Sequence[Track]:
    first, second = exchanges
    return [
        *_tracks(first, beside=second, before=state, clock=clock),
        *_tracks(second, beside=first, before=state, clock=clock),
    ]


async def _explore(state: Store, tracks: Sequence[Track], found: dict[Hashable, Outcome]) -> None:
    """Take the steps in every order, but none twice from the same state."""
    waiting = [((0,) * len(tracks), Outcome(state, ()))]
    seen: set[Hashable] = set()
    while waiting:
        places, reached = waiting.pop()
        before = reached.state
        if all(place == len(track) for place, track in zip(places, tracks, strict=True)):
            found.setdefault(identity(before), reached)
            continue
        for number, (place, track) in enumerate(zip(places, tracks, strict=True)):
            if place == len(track):
                continue
            after = copy_of(before)
            if not await track[place].take(after):
                continue
            moved = (*places[:number], place + 1, *places[number + 1 :])
            key = (moved, identity(after))
            if key not in seen:
                seen.add(key)
                order = (*reached.order, track[place].name)
                waiting.append((moved, Outcome(after, order)))


def _tracks(
    exchange: Exchange, *, beside: Exchange, before: Store, clock: ManualClock
) -> Sequence[Track]:
    request, found = exchange.request, exchange.found
    match request:
        case tuple():
            return _send(request, clock)
        case TurnCommit() if isinstance(found, CommitAnswer):
            return [
                _commit(request, found, clock, alone=_commits(beside.request) != request.instance)
            ]
        case TurnRequest() if isinstance(found, frozenset):
            turns = {each.state.instance: each for each in found if isinstance(each, LeasedTurn)}
            instances = {*before.tables.instances, *_created(beside.request), *turns}
            may_be_passed_over = _concerned(beside)
            return [
                _lease_turn(request, instance, turns.get(instance))
                for instance in sorted(instances)
                if instance in turns or instance not in may_be_passed_over
            ]
        case ActivityRequest() if isinstance(found, frozenset):
            work = {
                (each.instance, each.id): each for each in found if isinstance(each, LeasedActivity)
            }
            activities = {*before.tables.activities, *_added(beside.request), *work}
            may_be_passed_over = _concerned(beside)
            return [
                [_lease_activity(request, key, work.get(key), before=before)]
                for key in sorted(activities)
                if key in work or key[0] not in may_be_passed_over
            ]
        case TurnRenewal() | ActivityRenewal() if isinstance(found, frozenset):
            return _renewal(request, found, clock)
        case _:
            return [[_whole(request, found, clock)]]


def _send(messages: Sequence[Message], clock: ManualClock) -> Sequence[Track]:
    """The messages to each instance, as one step each."""
    by_instance: dict[str, list[Step]] = {}
    for message in messages:
        by_instance.setdefault(message.instance, []).append(_whole((message,), None, clock))
    return list(by_instance.values())


def _whole(request: Request, found: Answer, clock: ManualClock) -> Step:
    """A call, or one message of a `send`, as one step."""

    async def step(store: Store) -> bool:
        return await _ask(store, request, clock) == found

    return Step(_named(request), step)


def _commit(commit: TurnCommit, found: CommitAnswer, clock: ManualClock, *, alone: bool) -> Track:
    """A commit, and then the reading of its messages."""

    async def take_effect(store: Store) -> bool:
        answer = await _ask(store, commit, clock)
        if not isinstance(answer, CommitAnswer):
            return False
        return _without_messages(answer) == _without_messages(found)

    async def read(store: Store) -> bool:
        # The contract does not say which messages two overlapping commits of one instance get.
        if found.lease_until is None or not alone:
            return True
        return store.delivery(commit.instance, commit.held) == (found.messages, found.more)

    return [
        Step(f"commit of {commit.instance}", take_effect),
        Step(f"its reading of {commit.instance}'s messages", read),
    ]


def _lease_turn(request: TurnRequest, instance: str, found: LeasedTurn | None) -> Track:
    """The lease of one instance, or none, and then the reading of its messages."""

    async def lease(store: Store) -> bool:
        leased = view_of(store, instances={instance}).lease_turns(request)
        if found is None or not leased:
            return found is None and not leased
        return replace(leased[0], messages=(), more=False) == replace(
            found, messages=(), more=False
        )

    async def read(store: Store) -> bool:
        return found is None or store.delivery(instance) == (found.messages, found.more)

    if found is None:
        return [Step(f"look at {instance}, which it does not lease", lease)]
    return [
        Step(f"lease of {instance}", lease),
        Step(f"its reading of {instance}'s messages", read),
    ]


def _lease_activity(
    request: ActivityRequest,
    key: tuple[str, str],
    found: LeasedActivity | None,
    *,
    before: Store,
) -> Step:
    """The lease of one activity, or none.

    Whether it is unregistered depends on other activities that are leased (ACT-24), but not on those
    that this call leases itself.
    """
    own_before = _leased_under(request.token, before)

    async def step(store: Store) -> bool:
        own = _leased_under(request.token, store) - own_before
        busy = {other for other, row in store.tables.activities.items() if store.is_live(row.lease)}
        view = view_of(store, instances=store.tables.instances, activities={key, *(busy - own)})
        leased = [
            each for each in view.lease_activities(request) if (each.instance, each.id) == key
        ]
        return leased == ([] if found is None else [found])

    what = "look at" if found is None else "lease of"
    return Step(f"{what} activity {key[1]} of {key[0]}", step)


def _leased_under(token: str, store: Store) -> set[tuple[str, str]]:
    return {key for key, row in store.tables.activities.items() if store.is_held(row.lease, token)}


def _renewal(
    renewal: TurnRenewal | ActivityRenewal, found: Collection[object], clock: ManualClock
) -> Sequence[Track]:
    """The leases of an instance or of an activity, as one step each."""
    by_item: dict[object, list[TurnLease | ActivityLease]] = {}
    for lease in renewal.leases:
        activity = lease.activity if isinstance(lease, ActivityLease) else None
        by_item.setdefault((lease.instance, activity), []).append(lease)
    return [
        [
            _whole(
                replace(renewal, leases=tuple(leases)),  # pyright: ignore[reportArgumentType] # all of one class
                frozenset(lease for lease in leases if lease in found),  # pyright: ignore[reportArgumentType]
                clock,
            )
        ]
        for leases in by_item.values()
    ]


def _named(request: Request) -> str:
    """A call, or a part of one, in a few words."""
    if isinstance(request, tuple):
        return ", ".join(f"message {message.id} to {message.instance}" for message in request)
    if isinstance(request, TurnRenewal | ActivityRenewal):
        return f"{method_of(request)} of {request.leases[0].instance}"
    return method_of(request)


async def _ask(store: Store, request: Request, clock: ManualClock) -> Answer:
    return await ask(ModelProvider(store, clock=clock, description="model"), request)


def _without_messages(answer: CommitAnswer) -> CommitAnswer:
    return replace(answer, messages=(), more=False)


def _commits(request: Request) -> str | None:
    """The instance whose messages a call may change as a commit does."""
    changes = isinstance(request, TurnCommit | InstanceReopening | InstanceTermination)
    return request.instance if changes else None


def _created(request: Request) -> Collection[str]:
    """The instances that may come to be by a call."""
    match request:
        case NewInstance():
            return {request.instance}
        case TurnCommit():
            return {child.instance.instance for child in request.create}
        case _:
            return ()


def _added(request: Request) -> Collection[tuple[str, str]]:
    """The activities that may come to be by a call."""
    if not isinstance(request, TurnCommit):
        return ()
    return {(request.instance, new.id) for new in request.add}


def _concerned(exchange: Exchange) -> Collection[str]:
    """The instances that a call concerns (CALL-14): a look beside it may pass over them."""
    request, found = exchange.request, exchange.found
    match request:
        case tuple():
            return {message.instance for message in request}
        case TurnRequest() | ActivityRequest():
            return _leased(found)
        case TurnCommit():
            sent = {message.instance for message in request.send}
            created = {child.instance.instance for child in request.create}
            return {request.instance, *sent, *created}
        case InstanceTermination():
            return {request.instance, *(message.instance for message in request.send)}
        case TurnRenewal() | ActivityRenewal():
            return {lease.instance for lease in request.leases}
        case TurnRelease() | ActivityRelease() | ActivityCompletion():
            return {request.lease.instance}
        case NewInstance() | InstanceReopening() | Deletion() | Pruning():
            return {request.instance}
        case EarlyDeletion() | NamespaceDeletion():
            return ()


def _leased(found: Answer) -> Collection[str]:
    """The instances that a look has leased, or whose activities."""
    if not isinstance(found, frozenset):
        return ()
    turns = {each.state.instance for each in found if isinstance(each, LeasedTurn)}
    return turns | {each.instance for each in found if isinstance(each, LeasedActivity)}
