"""The seam: the one place where requests leave this package, and what may come back.

`Calls` is all that the provider asks of DynamoDB. `AwsCalls` sends requests through aioboto3's
low-level client; tests put a model or a fault-injecting wrapper in its place. Whatever the
driver raises becomes one of the few exceptions here, so that nothing above knows the driver.
The seam decides nothing: whether to try again is `retries`' business.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from perdure_dynamodb._values import Row, Wire

if TYPE_CHECKING:
    from perdure_dynamodb._options import DynamoDBOptions

Parameters = Mapping[str, object]
Answer = Mapping[str, object]


class Calls(Protocol):
    """Something that carries out DynamoDB operations, given as in its API reference."""

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One request; raises the exceptions of this module only."""
        ...


class ConditionFailed(Exception):
    """A condition was not met; nothing changed. `item` is what stands there."""

    def __init__(self, item: Row | None) -> None:
        super().__init__("a condition was not met")
        self.item = item


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a transaction was cancelled, as far as one of its actions is concerned."""

    code: str
    """`None` where this action was not the cause."""
    item: Row | None


class TransactionCancelled(Exception):
    """A transaction was cancelled; nothing changed. One reason per action, in order."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        super().__init__(", ".join(reason.code for reason in reasons))
        self.reasons = tuple(reasons)

    @property
    def conditions_failed(self) -> bool:
        """Whether conditions, and nothing transient, were the cause."""
        return {reason.code for reason in self.reasons} <= {"None", "ConditionalCheckFailed"}

    @property
    def refused(self) -> bool:
        """Whether an action can never succeed as it is."""
        return any(reason.code in _HOPELESS for reason in self.reasons)


class Busy(Exception):
    """Throttled, or in conflict with another request: nothing changed, and later it may work."""


class Unanswered(Exception):
    """No answer, or an internal error: whether there was an effect is not known."""


class Refused(Exception):
    """The request can never succeed as it is. `code` is DynamoDB's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


_HOPELESS = frozenset({"ItemCollectionSizeLimitExceeded", "ValidationError"})
_BUSY = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "LimitExceededException",
    }
)
_UNANSWERED = frozenset(
    {"InternalServerError", "InternalFailure", "ServiceUnavailable", "500", "502", "503", "504"}
)


class AwsCalls:
    """Requests through one low-level client, which is open as long as its owner says."""

    def __init__(self, client: object) -> None:
        self._client = client

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One request, with the driver's few quick retries."""
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            method = getattr(self._client, cast("str", xform_name(operation)))
            return cast("Answer", await method(**parameters))
        except ClientError as error:
            raise _translate(cast("Answer", error.response)) from error
        except (TimeoutError, BotoCoreError, OSError) as error:
            if type(error).__name__ in _CREDENTIALS:
                raise Refused(type(error).__name__, str(error)) from error
            raise Unanswered(f"{type(error).__name__}: {error}") from error


_CREDENTIALS = frozenset(
    {
        "CredentialRetrievalError",
        "InvalidRegionError",
        "NoCredentialsError",
        "NoRegionError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)


def _translate(response: Answer) -> Exception:
    error = cast("Mapping[str, str]", response.get("Error", {}))
    code = error.get("Code", "unknown")
    message = error.get("Message") or cast("str", response.get("Message", ""))
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(_row(response.get("Item")))
    if code == "TransactionCanceledException":
        reasons = cast("Sequence[Mapping[str, object]]", response.get("CancellationReasons", ()))
        return TransactionCancelled(
            [Reason(str(each.get("Code", "None")), _row(each.get("Item"))) for each in reasons]
        )
    if code in _BUSY:
        return Busy(f"{code}: {message}")
    if code in _UNANSWERED:
        return Unanswered(f"{code}: {message}")
    return Refused(code, message)


def _row(wire: object) -> Row | None:
    return Row.from_wire(cast("Mapping[str, Wire]", wire)) if wire else None


@asynccontextmanager
async def aws_calls(options: DynamoDBOptions) -> AsyncGenerator[AwsCalls]:
    """One client with its connection pool, for as long as the context lasts."""
    import aioboto3
    from aiobotocore.config import AioConfig
    from botocore.exceptions import BotoCoreError

    secret, session_token = options.secret_access_key, options.session_token
    # The driver would retry ten times with up to 25 s of sleep; a lease doesn't wait so long.
    config = AioConfig(
        connect_timeout=3,
        read_timeout=8,
        max_pool_connections=64,
        parameter_validation=False,
        retries={"mode": "standard", "total_max_attempts": 3},
        tcp_keepalive=True,
        connector_args={"keepalive_timeout": 50},
    )
    try:
        session = aioboto3.Session(profile_name=options.profile)
        entered = session.client(  # pyright: ignore[reportUnknownMemberType] # the driver is untyped
            "dynamodb",
            region_name=options.region,
            endpoint_url=options.endpoint_url,
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            aws_session_token=session_token.get_secret_value() if session_token else None,
            config=config,
        )
    except BotoCoreError as error:
        raise Refused(type(error).__name__, str(error)) from error
    try:
        client = await entered.__aenter__()
    except (BotoCoreError, ValueError) as error:
        raise Refused(type(error).__name__, str(error)) from error
    try:
        yield AwsCalls(client)
    finally:
        await entered.__aexit__(None, None, None)
