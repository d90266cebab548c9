"""Calls of a provider as data, and their outcomes in a comparable form.

Where the contract leaves an order free, the comparable form has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CommitAnswer,
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
    ProviderError,
)

Answer = (
    frozenset[LeasedTurn]
    | frozenset[LeasedActivity]
    | frozenset[TurnLease]
    | frozenset[ActivityLease]
    | CommitAnswer
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
)
"""A call of a provider; the class tells which method it is."""


async def ask(provider: Provider, request: Request) -> Answer:
    """Make the call; refusals become text, all other errors pass."""
    try:
        return await call(provider, request)
    except (InstanceAlreadyExists, InstanceNotFound, ExecutionNotFound) as answer:
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
        case NewInstance() | tuple():
            return frozenset()
