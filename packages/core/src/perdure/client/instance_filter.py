"""Which instances a listing or a call on many instances is for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import cast

from perdure.client.arguments import check_instant, check_status
from perdure.client.start_options import check_labels
from perdure.clock import Instant
from perdure.errors import InvalidInput
from perdure.model.identifiers import check_identifier
from perdure.model.parked_reasons import PARKED_REASONS
from perdure.model.record import record
from perdure.model.shown import shown
from perdure.records.instances import InstanceStatus
from perdure.records.listing import InstanceQuery


@record(frozen=True)
class InstanceFilter:
    """Conditions on instances; an instance matches if it meets all of them. Without any, all match."""

    status: InstanceStatus | str | Collection[InstanceStatus | str] = ()
    """One status or several: `Running`, `Completed` or `Failed`; empty: any."""
    orchestration: str | Collection[str] = ()
    """One registered name or several; empty: any."""
    parked: bool | str | Collection[str] | None = None
    """True or False; or one reason or several, such as `nondeterminism`; None: either."""
    id_prefix: str = ""
    """How the id begins."""
    created_after: datetime | None = None
    """Created at this instant or later; an aware datetime, as all instants here."""
    created_before: datetime | None = None
    updated_after: datetime | None = None
    """Last changed at this instant or later: by a turn, or by its creation."""
    updated_before: datetime | None = None
    roots_only: bool = False
    """Only instances without a parent."""
    parent: str | None = None
    """Only the children of the instance with this id."""
    labels: Mapping[str, str] | None = None
    """Labels that it has, among others."""


def query_of(filter: InstanceFilter | None) -> InstanceQuery:
    """The conditions for the provider; raises `InvalidInput`."""
    if filter is None:
        return InstanceQuery()
    if not isinstance(cast("object", filter), InstanceFilter):
        raise InvalidInput(f"filter {shown(filter)} is no filter; pass InstanceFilter(…)")
    return InstanceQuery(
        statuses=_statuses(filter.status),
        orchestrations=frozenset(
            check_identifier(name, "orchestration name")
            for name in _several(filter.orchestration, "orchestration")
        ),
        parked=filter.parked if isinstance(filter.parked, bool) else None,
        parked_reasons=_reasons(filter.parked),
        id_prefix=_prefix(filter.id_prefix),
        created_from=_instant(filter.created_after, "created_after"),
        created_before=_instant(filter.created_before, "created_before"),
        updated_from=_instant(filter.updated_after, "updated_after"),
        updated_before=_instant(filter.updated_before, "updated_before"),
        parent=None if filter.parent is None else check_identifier(filter.parent, "parent"),
        roots_only=_flag(filter.roots_only, "roots_only"),
        labels=check_labels(filter.labels),
    )


def query_of_roots(
    filter: InstanceFilter | None, statuses: Collection[InstanceStatus]
) -> InstanceQuery:
    """The instances without a parent that match and have one of these statuses.

    Raises `InvalidInput` if the filter asks for another status, or for children.
    """
    query = query_of(filter)
    others = query.statuses - set(statuses)
    if others:
        named = ", ".join(sorted(status.value for status in others))
        valid = " or ".join(sorted(status.value for status in statuses))
        raise InvalidInput(
            f"the filter asks for instances that are {named}; this call is for {valid} ones, so"
            " leave the status out"
        )
    if query.parent is not None:
        raise InvalidInput(
            f"the filter asks for children of {query.parent!r}; this call takes whole trees, so"
            " name their roots"
        )
    return replace(query, statuses=query.statuses or frozenset(statuses), roots_only=True)


def _statuses(
    status: InstanceStatus | str | Collection[InstanceStatus | str],
) -> frozenset[InstanceStatus]:
    checked = frozenset(check_status(each) for each in _several(status, "status"))
    if InstanceStatus.CONTINUED_AS_NEW in checked:
        raise InvalidInput(
            "no instance is ContinuedAsNew, only its executions are; ask for Running ones, or use"
            " list_instances_by_status"
        )
    return checked


def _reasons(parked: bool | str | Collection[str] | None) -> frozenset[str]:
    if parked is None or isinstance(parked, bool):
        return frozenset()
    reasons = _several(parked, "parked")
    for reason in reasons:
        if reason not in PARKED_REASONS:
            valid = ", ".join(map(repr, PARKED_REASONS))
            raise InvalidInput(
                f"parked reason {shown(reason)} is unknown; pass True, False or some of {valid}"
            )
    return frozenset(reasons)


def _several(value: object, what: str) -> tuple[str, ...]:
    """One text or several, as several."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        raise InvalidInput(f"{what} {shown(value)} is neither a text nor a collection of texts")
    return tuple(cast("Iterable[str]", value))


def _prefix(prefix: str) -> str:
    if not isinstance(cast("object", prefix), str):
        raise InvalidInput(f"id_prefix {shown(prefix)} is not a string; pass how the ids begin")
    if prefix:
        check_identifier(prefix, "id_prefix")
    return prefix


def _instant(moment: datetime | None, what: str) -> Instant | None:
    return None if moment is None else check_instant(moment, what)


def _flag(value: bool, what: str) -> bool:
    if not isinstance(cast("object", value), bool):
        raise InvalidInput(f"{what} {shown(value)} is neither True nor False")
    return value
