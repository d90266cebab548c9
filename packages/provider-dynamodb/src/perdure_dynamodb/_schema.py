"""The table's shape: how it is created, and the check of one that exists.

One table with the keys `pk` and `sk`, paid by use, and one index `due`, keyed by `gpk` and
`gsk`, which carries the few attributes that spare a look into the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

from perdure.clock import Clock
from perdure.errors import StorageFailed, StorageUnavailable

from perdure_dynamodb._table import INDEX
from perdure_dynamodb._transport import Answer, Busy, Calls, Parameters, Refused, Unanswered

PROJECTED = ("inc", "exe", "nam", "tag", "tev")
PATIENCE = timedelta(seconds=8)
"""So long opening waits for the first answer, with all that comes before it."""

_PAUSES = (0.05, 0.2, 0.8)
"""Real seconds between the tries of a request at open."""

_REGION = frozenset({"InvalidRegionError", "NoRegionError"})
_CREDENTIALS = frozenset(
    {
        "AccessDeniedException",
        "ConfigNotFound",
        "CredentialRetrievalError",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "UnrecognizedClientException",
    }
)


class TableMissing(StorageFailed):
    """There is no such table in this region or at this endpoint."""


class WrongTableShape(StorageFailed):
    """The table has other keys, or another index, than this provider needs."""


class CredentialsRefused(StorageFailed):
    """There are no credentials, or they are not accepted, or they lack a permission."""


class RegionInvalid(StorageFailed):
    """No region is given or configured, or what is given cannot be one."""


class EndpointUnreachable(StorageUnavailable):
    """No answer from the region's or the given endpoint."""


def definition(table: str, tags: Mapping[str, str] | None = None) -> Mapping[str, object]:
    """The parameters of `CreateTable`."""
    named = {"Tags": [{"Key": key, "Value": value} for key, value in (tags or {}).items()]}
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "DeletionProtectionEnabled": True,
        **(named if tags else {}),
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "gpk", "gsk")
        ],
        "KeySchema": _key_schema("pk", "sk"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": INDEX,
                "KeySchema": _key_schema("gpk", "gsk"),
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": list(PROJECTED),
                },
            }
        ],
    }


async def create_table(
    calls: Calls, table: str, *, clock: Clock, tags: Mapping[str, str] | None = None
) -> None:
    """Create the table unless it exists, and wait until it can be used.

    It has deletion protection, and point-in-time recovery where the endpoint knows of it.
    """
    is_new = True
    try:
        await _persistently(calls, "CreateTable", definition(table, tags))
    except Refused as error:
        if error.code != "ResourceInUseException":
            raise
        is_new = False
    for _ in range(60):
        described = await _describe(calls, table)
        if described is not None and described.get("TableStatus") == "ACTIVE":
            if is_new:
                await _keep_backups(calls, table)
            return
        await clock.sleep(timedelta(seconds=1))
    raise StorageUnavailable(
        f"table {table!r} was not ready a minute after its creation; open it again later",
        operation="open",
    )


async def _keep_backups(calls: Calls, table: str) -> None:
    parameters = {
        "TableName": table,
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
    }
    try:
        await _persistently(calls, "UpdateContinuousBackups", parameters)
    except Refused as error:
        # DynamoDB Local has no backups.
        if error.code != "UnknownOperationException":
            raise


async def check_table(
    calls: Calls,
    table: str,
    *,
    where: str,
    create: bool,
    clock: Clock,
    until: float | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Complain, each fault with its own class, unless the table can be used as it is.

    `until` is the loop's time at which an answer has to be there.
    """
    with explained(where):
        async with asyncio.timeout_at(until):
            described = await _describe(calls, table)
        if create and (described is None or described.get("TableStatus") == "CREATING"):
            await create_table(calls, table, clock=clock, tags=tags)
            described = await _describe(calls, table)
    if described is None:
        raise TableMissing(
            f"there is no table {table!r} {where}; check the region, or create the table with"
            " 'python -m perdure_dynamodb create-table' or with create_table=true",
            operation="open",
        )
    _check_shape(described, table)


@contextmanager
def explained(where: str) -> Generator[None]:
    """What goes wrong at open, as errors that say what to do; `where` names the endpoint."""
    try:
        yield
    except (TimeoutError, Unanswered, Busy) as error:
        raise EndpointUnreachable(
            f"DynamoDB does not answer {where}; check the region, the endpoint and the network"
            f" ({str(error) or 'it took too long'})",
            operation="open",
        ) from error
    except Refused as error:
        raise _refusal(error, where) from error


def _refusal(error: Refused, where: str) -> StorageFailed:
    if error.code in _REGION:
        return RegionInvalid(
            f"there is no usable region for DynamoDB {where}: {error}; give one as in"
            " 'dynamodb://Table?region=eu-west-1', or set AWS_DEFAULT_REGION",
            operation="open",
        )
    if error.code in _CREDENTIALS:
        return CredentialsRefused(
            f"DynamoDB {where} refuses the credentials: {error}; check the keys, the profile or"
            " the role, that the region is theirs, and the permissions",
            operation="open",
        )
    return StorageFailed(
        f"DynamoDB {where} refuses the request: {error}; check the options", operation="open"
    )


async def _describe(calls: Calls, table: str) -> Mapping[str, object] | None:
    try:
        answer = await _persistently(calls, "DescribeTable", {"TableName": table})
    except Refused as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise
    return cast("Mapping[str, object]", answer["Table"])


async def _persistently(calls: Calls, operation: str, parameters: Parameters) -> Answer:
    """The answer; what may succeed later is tried a few times."""
    for pause in _PAUSES:
        try:
            return await calls.call(operation, parameters)
        except (Busy, Unanswered):
            await asyncio.sleep(pause)
    return await calls.call(operation, parameters)


def _check_shape(described: Mapping[str, object], table: str) -> None:
    indexes = cast("Sequence[Mapping[str, object]]", described.get("GlobalSecondaryIndexes") or ())
    index = next((each for each in indexes if each.get("IndexName") == INDEX), None)
    if described.get("KeySchema") != _key_schema("pk", "sk"):
        fault = "its key is not 'pk' and 'sk'"
    elif index is None:
        fault = f"it has no index {INDEX!r}"
    elif index.get("KeySchema") != _key_schema("gpk", "gsk"):
        fault = f"the key of its index {INDEX!r} is not 'gpk' and 'gsk'"
    elif not _has_texts_for_keys(described):
        fault = "not all of its keys are of the type 'S'"
    elif not _projects(cast("Mapping[str, object]", index.get("Projection") or {})):
        fault = f"its index {INDEX!r} lacks one of the attributes {', '.join(PROJECTED)}"
    else:
        return
    raise WrongTableShape(
        f"table {table!r} was not made for Perdure: {fault}; use another table, or create one"
        " with 'python -m perdure_dynamodb create-table'",
        operation="open",
    )


def _has_texts_for_keys(described: Mapping[str, object]) -> bool:
    attributes = cast("Sequence[Mapping[str, str]]", described.get("AttributeDefinitions") or ())
    texts = {each["AttributeName"] for each in attributes if each["AttributeType"] == "S"}
    return {"pk", "sk", "gpk", "gsk"} <= texts


def _projects(projection: Mapping[str, object]) -> bool:
    included = cast("Sequence[str]", projection.get("NonKeyAttributes") or ())
    return projection.get("ProjectionType") == "ALL" or set(PROJECTED) <= set(included)


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]
