"""Requests that are signed and sent without the driver, which takes most of a step's processor time.

The driver still finds the credentials, the region and the endpoint. Only what a request needs is done
here: DynamoDB's JSON, a signature of version 4, and one POST over a connection that is kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, cast

from perdure_dynamodb._errors import translate
from perdure_dynamodb._http import Pool
from perdure_dynamodb._transport import Answer, Parameters, Unanswered

_OK = 200
_VERSION = "DynamoDB_20120810"
_CONTENT_TYPE = "application/x-amz-json-1.0"


class Credentials(Protocol):
    """What signs a request, as the driver gives it."""

    access_key: str
    secret_key: str
    token: str | None


GetCredentials = Callable[[], Awaitable[Credentials]]


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests for a service in a region."""

    region: str
    service: str
    host: str
    _keys: dict[tuple[str, str], bytes] = field(
        default_factory=dict[tuple[str, str], bytes], repr=False, compare=False
    )
    """The signing key of the present day and secret."""

    def headers(
        self, body: bytes, headers: Mapping[str, str], credentials: Credentials, at: datetime
    ) -> dict[str, str]:
        """The headers of a POST to `/`, with its signature."""
        stamp = at.strftime("%Y%m%dT%H%M%SZ")
        signed = {**headers, "host": self.host, "x-amz-date": stamp}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        listed = ";".join(names)
        canonical = "\n".join(
            [
                "POST",
                "/",
                "",
                *(f"{name}:{signed[name]}" for name in names),
                "",
                listed,
                hashlib.sha256(body).hexdigest(),
            ]
        )
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = _hmac(self._key(credentials.secret_key, stamp[:8]), text).hex()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope},"
            f" SignedHeaders={listed}, Signature={signature}"
        )
        return signed

    def _key(self, secret: str, day: str) -> bytes:
        key = self._keys.get((secret, day))
        if key is None:
            key = _hmac(f"AWS4{secret}".encode(), day)
            for part in (self.region, self.service, "aws4_request"):
                key = _hmac(key, part)
            self._keys.clear()
            self._keys[secret, day] = key
        return key


class DirectCalls:
    """Requests through a pool of connections, which is open as long as its owner says."""

    def __init__(self, pool: Pool, signer: Signer, credentials: GetCredentials) -> None:
        self._pool = pool
        self._signer = signer
        self._credentials = credentials

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One request, once."""
        body = json.dumps(parameters, separators=(",", ":"), default=_encoded).encode()
        headers = {"content-type": _CONTENT_TYPE, "x-amz-target": f"{_VERSION}.{operation}"}
        credentials = await self._credentials()
        signed = self._signer.headers(body, headers, credentials, datetime.now(UTC))
        try:
            response = await self._pool.post(signed, body)
        except (TimeoutError, OSError) as error:
            raise Unanswered(f"{type(error).__name__}: {error}") from error
        content = read_answer(response.status, response.body, response.headers.get("x-amz-crc32"))
        if response.status != _OK:
            code = str(content.get("__type", "unknown")).rpartition("#")[2]
            message = str(content.get("message") or content.get("Message") or "")
            raise translate(code, message, response.status, content)
        return content


def read_answer(status: int, body: bytes, checksum: str | None) -> Answer:
    """The content of an answer; raises `Unanswered` for one that is not DynamoDB's."""
    if checksum is not None and checksum != str(zlib.crc32(body)):
        raise Unanswered(f"the answer's checksum is not {checksum}, as its header says")
    try:
        content: object = json.loads(body)
    except ValueError:
        content = None
    if isinstance(content, dict):
        return cast("Answer", content)
    if status == _OK:
        raise Unanswered(f"the answer is no JSON object but begins with {body[:40]!r}")
    return {}


@asynccontextmanager
async def direct_calls(
    endpoint: str, region: str, credentials: GetCredentials
) -> AsyncGenerator[DirectCalls]:
    """A pool of connections to an endpoint, for as long as the context lasts."""
    pool = Pool(endpoint)
    try:
        yield DirectCalls(pool, Signer(region, "dynamodb", pool.host), credentials)
    finally:
        await pool.close()


def _encoded(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{value!r} cannot be sent")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
