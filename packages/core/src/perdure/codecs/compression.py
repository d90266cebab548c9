"""Codecs that make payloads smaller."""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING, Final

from perdure.codecs.codec import EncodedPayload, PayloadCodec
from perdure.errors import InvalidInput
from perdure.model.payload import LARGEST_PAYLOAD
from perdure.model.settings import to_integer

if TYPE_CHECKING:
    from types import ModuleType

_LEAST_SAVING: Final = 32
"""In bytes; an envelope costs about ten."""

_MOST_DECODED: Final = 16 * LARGEST_PAYLOAD
"""Bytes that one payload is decompressed to at most, so that a forged one cannot fill the memory.

It is above everything that core stores: texts within an event are escaped as JSON."""


class _Compression(PayloadCodec):
    """Compresses what is larger than `above` bytes, where this makes it smaller."""

    def __init__(self, *, above: int = 512, level: int, levels: range) -> None:
        self._above = to_integer(above, "above")
        self._level = to_integer(level, "level", least=levels[0], most=levels[-1])

    def encode(self, data: bytes) -> EncodedPayload | None:
        if len(data) <= self._above:
            return None
        smaller = self._compress(data)
        return EncodedPayload(smaller) if len(smaller) < len(data) - _LEAST_SAVING else None

    def _compress(self, data: bytes) -> bytes:
        raise NotImplementedError


class Zlib(_Compression):
    """Compresses payloads of more than `above` bytes with zlib, which every Python has."""

    name = "zlib"

    def __init__(self, *, above: int = 512, level: int = 1) -> None:
        """`level` is 1, the fastest, to 9, the smallest."""
        super().__init__(above=above, level=level, levels=range(1, 10))

    def _compress(self, data: bytes) -> bytes:
        return zlib.compress(data, self._level)

    def decode(self, data: bytes, key: str) -> bytes:
        del key
        decompressor = zlib.decompressobj()
        plain = decompressor.decompress(data, _MOST_DECODED)
        if not decompressor.eof:
            raise ValueError("the compressed payload is cut off, or too large")
        return plain


class Zstandard(_Compression):
    """Compresses payloads of more than `above` bytes with Zstandard: faster and smaller than zlib.

    Python 3.14 has it. Earlier versions need `pip install "perdure[zstandard]"`.
    """

    name = "zstd"

    def __init__(self, *, above: int = 512, level: int = 3) -> None:
        """`level` is 1, the fastest, to 19, the smallest.

        Raises `InvalidInput` if Zstandard is not installed.
        """
        super().__init__(above=above, level=level, levels=range(1, 20))
        self._zstd = _zstd()

    def _compress(self, data: bytes) -> bytes:
        return self._zstd.compress(data, self._level)

    def decode(self, data: bytes, key: str) -> bytes:
        del key
        decompressor = self._zstd.ZstdDecompressor()
        plain = decompressor.decompress(data, _MOST_DECODED)
        if not decompressor.eof:
            raise ValueError("the compressed payload is cut off, or too large")
        return plain


def _zstd() -> ModuleType:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise InvalidInput(
            'Zstandard is not installed; run `pip install "perdure[zstandard]"`, or use Zlib()'
        ) from None
    return zstd
