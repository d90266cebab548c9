"""Provider URLs: parsing them, and masking their secrets.

A URL has the form `scheme://netloc/path?option=value`. The scheme selects the provider. The
provider's options model defines the options and the meaning of netloc and path, by a class method
`from_url` (see `UrlOptions`). Nothing here opens a storage. `repr` and `masked` hide user information
and every option that looks like a credential.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Protocol, Self, runtime_checkable
from urllib.parse import unquote, urlsplit

from perdure.errors import InvalidProviderUrl
from perdure.model.record import record

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*\Z")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SECRET_KEY = re.compile(r"secret|passw|token|credential|signature|auth|(^|[_-])key|apikey", re.I)
# The second form is for a password that holds an unescaped slash, question mark or hash sign.
_USER_INFORMATION = re.compile(r"://(?:[^/?#]*@|[^/?#@:]*:[^@]*@)")
_MASK = "***"


@record(frozen=True)
class ProviderUrl:
    """A provider URL in its parts."""

    scheme: str
    """In lower case."""
    netloc: str
    """The part between `//` and the path, exactly as written: case kept, nothing decoded."""
    path: str
    """The path from the slash after the netloc on, percent-decoded; may be empty."""
    query: Mapping[str, str]
    """The options by name, percent-decoded; each name occurs once."""
    masked: str
    """The whole URL as written, with secrets hidden, for messages."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL; raises `InvalidProviderUrl`, whose message shows no secret."""
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
            raise InvalidProviderUrl(
                f"an object of type {type(text).__name__} is not a provider URL; write it like"
                " 'sqlite:///orders.db'"
            )
        shown = masked(text)
        scheme, separator, _ = text.partition("://")
        if not separator or not _SCHEME.match(scheme):
            raise InvalidProviderUrl(
                f"{shown!r} is not a provider URL; write it like 'sqlite:///orders.db'"
            )
        if _FORBIDDEN.search(text):
            raise InvalidProviderUrl(
                f"provider URL {shown!r} has a space or a control character in it;"
                " percent-encode it, a space is %20"
            )
        try:
            parts = urlsplit(text)
        except ValueError:
            # The message of the error would quote the netloc, including user information.
            raise InvalidProviderUrl(
                f"provider URL {shown!r} has a malformed part between '//' and the path;"
                " percent-encode its special characters"
            ) from None
        if "#" in text:
            raise InvalidProviderUrl(
                f"provider URL {shown!r} has a '#' in it; percent-encode it as %23"
            )
        # The provider decides whether a path may consist of a slash only.
        if parts.path.endswith("/") and (parts.netloc or parts.path != "/"):
            raise InvalidProviderUrl(
                f"provider URL {shown!r} has a slash at the end of its path; leave it out, so that"
                " one storage has one URL"
            )
        _decode(parts.netloc, shown)
        return cls(
            scheme=scheme.lower(),
            netloc=parts.netloc,
            path=_decode(parts.path, shown),
            query=_read_query(parts.query, shown),
            masked=shown,
        )

    def __repr__(self) -> str:
        return f"ProviderUrl({self.masked!r})"


@runtime_checkable
class UrlOptions(Protocol):
    """An options model: a pydantic model that forbids extra fields, with `from_url`.

    It also has a field `namespace: str = "default"`. Where opening creates the storage, it has a field
    `create: bool = True`; without it the provider raises `StorageFailed` in place of creating one.
    """

    @classmethod
    def from_url(cls, url: ProviderUrl) -> Self:
        """The options in a URL.

        Raises `InvalidProviderUrl` if the netloc or the path is not valid. The model itself checks
        the options, and the loader translates its `ValidationError`.
        """
        ...


def _read_query(query: str, shown: str) -> Mapping[str, str]:
    # Not `parse_qsl`, which turns a plus into a space: secrets and file names may contain a plus.
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise InvalidProviderUrl(
                f"provider URL {shown!r} has an option without a name or a value;"
                " write options as '?name=value&name=value'"
            )
        option = _decode(name, shown)
        if option in options:
            raise InvalidProviderUrl(
                f"provider URL {shown!r} gives the option {option!r} twice; give it once"
            )
        options[option] = _decode(value, shown)
    return MappingProxyType(options)


def _decode(text: str, shown: str) -> str:
    """The percent-decoded text; raises if it is not UTF-8 or has a control character."""
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidProviderUrl(
            f"provider URL {shown!r} has percent-encoded bytes that are not UTF-8; encode the"
            " UTF-8 bytes of the text"
        ) from None
    if _CONTROL.search(decoded):
        raise InvalidProviderUrl(
            f"provider URL {shown!r} has a percent-encoded control character in it; remove it"
        )
    return decoded


def masked(text: str, *, secrets: Collection[str] = ()) -> str:
    """The URL with user information and the values of secret options hidden.

    The options in `secrets` are secret, and those with a telling name (`password`, `token`,
    `secret_access_key`, …). If in doubt it hides a value. It never raises.
    """
    base, question, query = text.partition("?")
    if _USER_INFORMATION.search(base) is None and ":" in base.partition("://")[2] and "@" in query:
        return _USER_INFORMATION.sub(f"://{_MASK}@", text)
    base = _USER_INFORMATION.sub(f"://{_MASK}@", base)
    return base + question + "&".join(_mask_pair(pair, secrets) for pair in query.split("&"))


def _mask_pair(pair: str, secrets: Collection[str]) -> str:
    name, equals, value = pair.partition("=")
    plain_name = unquote(name)
    if equals and (plain_name in secrets or _SECRET_KEY.search(plain_name)):
        return f"{name}={_MASK}"
    hidden = _USER_INFORMATION.sub(f"://{_MASK}@", unquote(value))
    return f"{name}={hidden}" if hidden != unquote(value) else pair
