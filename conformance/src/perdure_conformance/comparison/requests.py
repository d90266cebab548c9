"""Calls of a provider as data, and their outcomes in a comparable form.

Where the contract leaves an order free, the comparable form has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CommitAnswer,
    InstanceReopening,
    InstanceTermination,
    Instant,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewInstance,
    Provider,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.errors import (
    ExecutionNotFound,
    InstanceAlreadyExists,
    InstanceNotFound,
    InstanceRunning,
    ProviderError,
)

Answer = (
    frozenset[LeasedTurn]
    | frozenset[LeasedActivity]
    | frozenset[TurnLease]
    | frozenset[ActivityLease]
    | CommitAnswer
    | bool
    | int
    | str
    | None
)
"""An answer, without an order where the contract leaves it free, or the text of a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRenewal:
    """A call of `renew_turns`."""

    leases: tuple[TurnLease, ...]
    lease_for: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRenewal:
    """A call of `renew_activities`."""

    leases: tuple[ActivityLease, ...]
    lease_for: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A call of `delete_instance`."""

    instance: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """A call of `prune_executions`."""

    instance: str
    incarnation: str
    before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyDeletion:
    """A call of `delete_early_events`, with a limit that is never reached."""

    instance: str | None
    arrived_before: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceDeletion:
    """A call of `delete_namespace`."""


Request = (
    NewInstance
    | tuple[Message, ...]
    | TurnRequest
    | TurnRelease
    | TurnRenewal
    | TurnCommit
    | ActivityRequest
    | ActivityCompletion
    | ActivityRelease
    | ActivityRenewal
    | InstanceReopening
    | InstanceTermination
    | Deletion
    | Pruning
    | EarlyDeletion
    | NamespaceDeletion
)
"""A call of a provider; the class tells which method it is."""


METHODS: Mapping[type, str] = {
    NewInstance: "create_instance",
    tuple: "send",
    TurnRequest: "lease_turns",
    TurnRelease: "release_turn",
    TurnRenewal: "renew_turns",
    TurnCommit: "commit_turn",
    ActivityRequest: "lease_activities",
    ActivityCompletion: "complete_activity",
    ActivityRelease: "release_activity",
    ActivityRenewal: "renew_activities",
    InstanceReopening: "reopen_instance",
    InstanceTermination: "terminate_instance",
    Deletion: "delete_instance",
    Pruning: "prune_executions",
    EarlyDeletion: "delete_early_events",
    NamespaceDeletion: "delete_namespace",
}


def method_of(request: Request) -> str:
    """The method of the provider that a call is of."""
    return METHODS[type(request)]


async def ask(provider: Provider, request: Request) -> Answer:
    """Make the call; refusals become text, all other errors pass."""
    try:
        return await call(provider, request)
    except (
        InstanceAlreadyExists,
        InstanceNotFound,
        InstanceRunning,
        ExecutionNotFound,
    ) as answer:
        return f"{type(answer).__name__}: {answer}"
    except ProviderError as error:
        if error.retryable:
            raise
        return f"{type(error).__name__}: {error}"


async def call(provider: Provider, request: Request) -> Answer:
    """Make the call."""
    match request:
        case NewInstance():
            return await provider.create_instance(request)
        case tuple():
            return await provider.send(request)
        case TurnRequest():
            return frozenset(await provider.lease_turns(request))
        case TurnRelease():
            return await provider.release_turn(request)
        case TurnRenewal():
            return await provider.renew_turns(request.leases, lease_for=request.lease_for)
        case TurnCommit():
            return await provider.commit_turn(request)
        case ActivityRequest():
            return frozenset(await provider.lease_activities(request))
        case ActivityCompletion():
            return await provider.complete_activity(request)
        case ActivityRelease():
            return await provider.release_activity(request)
        case ActivityRenewal():
            return await provider.renew_activities(request.leases, lease_for=request.lease_for)
        case InstanceReopening():
            return await provider.reopen_instance(request)
        case InstanceTermination():
            return await provider.terminate_instance(request)
        case Deletion():
            return await provider.delete_instance(request.instance, incarnation=request.incarnation)
        case Pruning():
            return await provider.prune_executions(
                request.instance, incarnation=request.incarnation, before=request.before
            )
        case EarlyDeletion():
            return await provider.delete_early_events(
                request.instance, arrived_before=request.arrived_before, limit=1000
            )
        case NamespaceDeletion():
            return await provider.delete_namespace()


def asked_token(request: Request) -> str | None:
    """The token under which a look for work leases."""
    return request.token if isinstance(request, TurnRequest | ActivityRequest) else None


def named_tokens(request: Request) -> frozenset[str]:
    """The tokens that a call names."""
    match request:
        case TurnRequest() | ActivityRequest():
            return frozenset({request.token})
        case TurnCommit():
            return frozenset({request.token, *(lease.token for lease in request.finish)})
        case TurnRenewal() | ActivityRenewal():
            return frozenset(lease.token for lease in request.leases)
        case TurnRelease() | ActivityRelease() | ActivityCompletion():
            return frozenset({request.lease.token})
        case _:
            return frozenset()
