"""What a codec is, and how several are used one after another."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, NamedTuple

from perdure.errors import InvalidInput
from perdure.model.envelope import is_sealed, open_envelope, seal
from perdure.model.settings import to_items
from perdure.model.shown import shown

_LOGGER = logging.getLogger("perdure.codecs")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class EncodedPayload(NamedTuple):
    """What a codec made of a payload."""

    data: bytes
    key: str = ""
    """The id of the key that `decode` needs; stored in clear. Empty: it needs none."""


class PayloadCodec(ABC):
    """Encodes payloads on their way to the storage, and decodes them on their way back.

    Both methods are called in the event loop, for large payloads also in a thread, and must be
    quick and safe to call from several threads at once.
    """

    name: str
    """Stored with each payload that it encoded: lower-case letters, digits, `.`, `_` and `-`, at
    most 64. It never changes, since `decode` is found by it."""

    @abstractmethod
    def encode(self, data: bytes) -> EncodedPayload | None:
        """Encode a payload; None leaves it as it is."""

    @abstractmethod
    def decode(self, data: bytes, key: str) -> bytes:
        """Return what `encode` was given.

        Raises any exception if it cannot. The payload then stays encoded: an instance that needs it
        is parked as `undecodable`, and goes on in a process that can decode it.
        """


class CodecChain:
    """Several codecs: each encodes what those before it made."""

    def __init__(self, codecs: PayloadCodec | Iterable[PayloadCodec]) -> None:
        given = [codecs] if isinstance(codecs, PayloadCodec) else codecs
        self._codecs = [_checked(each) for each in to_items(given, "codec", example="[Zlib()]")]
        self._by_name = {codec.name: codec for codec in self._codecs}
        if len(self._by_name) < len(self._codecs):
            names = ", ".join(repr(codec.name) for codec in self._codecs)
            raise InvalidInput(f"codec has two codecs of one name among {names}; pass each once")
        self._told: set[tuple[str, str]] = set()

    def encode(self, data: bytes) -> bytes:
        """The payload as it is stored. What is encoded already stays as it is."""
        if is_sealed(data):
            # A payload that this process could not decode, on its way back to the storage.
            return data
        for codec in self._codecs:
            encoded = codec.encode(data)
            if encoded is not None:
                data = seal(encoded.data, codec.name, encoded.key)
        return data

    def decode(self, data: bytes) -> bytes:
        """The payload as core encoded it, or as far as the codecs can decode it."""
        stored = data
        while is_sealed(data):
            try:
                name, key, body = open_envelope(data)
            except ValueError:
                return stored
            try:
                data = self._by_name[name].decode(body, key)
            except Exception as error:  # noqa: BLE001 # whatever a codec raises
                self._tell(name, key, error)
                return stored
        return data

    def _tell(self, name: str, key: str, error: Exception) -> None:
        """Log once for each codec and key why payloads stay encoded."""
        if (name, key) in self._told:
            return
        self._told.add((name, key))
        if name in self._by_name:
            why = f"{type(error).__name__}: {error}"
        else:
            why = f"the codecs here are {', '.join(self._by_name)}"
        with_key = f" and the key {key!r}" if key else ""
        _LOGGER.warning("payloads of the codec %r%s cannot be decoded: %s", name, with_key, why)


def _checked(codec: object) -> PayloadCodec:
    if not isinstance(codec, PayloadCodec):
        raise InvalidInput(f"codec {shown(codec)} is no PayloadCodec; pass one such as Zlib()")
    if not isinstance(codec.name, str) or not _NAME.fullmatch(codec.name):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
        raise InvalidInput(
            f"codec {shown(codec)} has the name {shown(codec.name)}; use lower-case letters, digits,"
            " '.', '_' and '-', at most 64"
        )
    return codec
