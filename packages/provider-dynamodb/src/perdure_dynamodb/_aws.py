"""DynamoDB itself: requests through aioboto3's low-level client.

One client per provider, with settings that fit leases: few quick retries and short timeouts.
Only this module imports the driver; what the driver raises leaves it as the transport's exceptions.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Protocol, cast

import aioboto3  # pyright: ignore[reportMissingTypeStubs]
from aiobotocore.config import AioConfig  # pyright: ignore[reportMissingTypeStubs]
from botocore import xform_name  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from perdure_dynamodb._direct import Credentials, direct_calls
from perdure_dynamodb._errors import translate
from perdure_dynamodb._options import DynamoDBOptions
from perdure_dynamodb._transport import Answer, Calls, Parameters, Refused, Unanswered

_OK = 200

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


class _Unreadable(Exception):
    """An answer that says it is one, and is not DynamoDB's."""


class AwsCalls:
    """Requests through one low-level client, which is open as long as its owner says."""

    def __init__(self, client: object) -> None:
        self._client = client

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One request, with the driver's few quick retries."""
        try:
            method = cast("_Method", getattr(self._client, xform_name(operation)))
            return await method(**parameters)
        except ClientError as error:
            raise _translated(cast("Answer", error.response)) from error
        except (BotoCoreError, TimeoutError, OSError, _Unreadable) as error:
            if type(error).__name__ in _CREDENTIALS:
                raise Refused(type(error).__name__, str(error)) from error
            raise Unanswered(f"{type(error).__name__}: {error}") from error


class _Method(Protocol):
    """A method of the driver's client."""

    async def __call__(self, **parameters: object) -> Answer: ...


@asynccontextmanager
async def aws_calls(
    options: DynamoDBOptions, session: aioboto3.Session | None = None
) -> AsyncGenerator[Calls]:
    """One client with its connection pool, for as long as the context lasts."""
    try:
        session = session or aioboto3.Session(profile_name=options.profile)
        entered = _client(session, options)
        client = await entered.__aenter__()
    except (BotoCoreError, ValueError) as error:
        raise Refused(type(error).__name__, str(error)) from error
    try:
        _events_of(client).register("before-parse.dynamodb", _look_at_answer)
        if options.direct:
            endpoint, region = _place_of(client)
            async with direct_calls(endpoint, region, lambda: _credentials_of(client)) as calls:
                yield calls
        else:
            yield AwsCalls(client)
    finally:
        await entered.__aexit__(None, None, None)


def _client(
    session: aioboto3.Session, options: DynamoDBOptions
) -> AbstractAsyncContextManager[object]:
    secret, session_token = options.secret_access_key, options.session_token
    # The driver would retry ten times with up to 25 s of sleep; a lease doesn't wait so long.
    config = AioConfig(
        connect_timeout=3,
        read_timeout=8,
        max_pool_connections=64,
        parameter_validation=False,
        # What is tried again, and for how long, is decided above.
        retries={"mode": "standard", "total_max_attempts": 1},
        tcp_keepalive=True,
        connector_args={"keepalive_timeout": 50},
        # Given whole: the driver would put its own together again for each request, which takes
        # a seventh of a request's processor time.
        user_agent=f"perdure-dynamodb/{version('perdure-dynamodb')} aioboto3/{version('aioboto3')}",
    )
    client: object = session.client(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] # untyped
        "dynamodb",
        region_name=options.region,
        endpoint_url=options.endpoint_url,
        aws_access_key_id=options.access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        aws_session_token=session_token.get_secret_value() if session_token else None,
        # Without TLS there is nothing to verify, and reading the certificates takes longer than
        # everything else about a client.
        verify=False if (options.endpoint_url or "").startswith("http://") else None,
        config=config,
    )
    return cast("AbstractAsyncContextManager[object]", client)


class _Events(Protocol):
    """The driver's hooks."""

    def register(self, name: str, handler: Callable[..., None]) -> None: ...


def _events_of(client: object) -> _Events:
    return cast("_Events", client.meta.events)  # type: ignore[attr-defined] # untyped


def _place_of(client: object) -> tuple[str, str]:
    """The endpoint and the region that the driver has worked out."""
    meta = client.meta  # type: ignore[attr-defined] # untyped
    return cast("str", meta.endpoint_url), cast("str", meta.region_name)


class _Renewing(Protocol):
    """The driver's credentials, which it renews in time."""

    async def get_frozen_credentials(self) -> Credentials: ...


async def _credentials_of(client: object) -> Credentials:
    """The credentials that the driver would sign with now."""
    signer = client._request_signer  # type: ignore[attr-defined] # no public way
    found = cast("_Renewing | None", signer._credentials)  # no public way
    if found is None:
        raise Refused("NoCredentialsError", "there are no credentials")
    try:
        return await found.get_frozen_credentials()
    except BotoCoreError as error:
        raise Refused(type(error).__name__, str(error)) from error


def _look_at_answer(*, response_dict: Mapping[str, object], **_: object) -> None:
    """Refuse an answer that the driver would take for an empty one.

    A proxy or a captive portal answers with status 200 and a page of its own; a broken connection
    may spoil a body without cutting it short.
    """
    body = cast("bytes", response_dict["body"])
    headers = cast("Mapping[str, str]", response_dict["headers"])
    checksum = headers.get("x-amz-crc32")
    if response_dict["status_code"] == _OK and not body.startswith(b"{"):
        raise _Unreadable(f"the answer is no JSON object but begins with {body[:40]!r}")
    if checksum is not None and checksum != str(zlib.crc32(body)):
        raise _Unreadable(f"the answer's checksum is not {checksum}, as its header says")


def _translated(response: Answer) -> Exception:
    error = cast("Mapping[str, str]", response.get("Error", {}))
    metadata = cast("Mapping[str, object]", response.get("ResponseMetadata", {}))
    return translate(
        error.get("Code", "unknown"),
        error.get("Message") or cast("str", response.get("Message", "")),
        cast("int", metadata.get("HTTPStatusCode", 0)),
        response,
    )
