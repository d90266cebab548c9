"""A codec that encrypts payloads: AES-GCM with 256-bit keys, by the package `cryptography`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from perdure.codecs.codec import EncodedPayload, PayloadCodec
from perdure.errors import InvalidInput
from perdure.model.shown import shown

_NONCE: Final = 12
"""Bytes, as NIST SP 800-38D recommends for GCM; random for each payload."""
_KEY: Final = 32
_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Encrypted(PayloadCodec):
    """Encrypts every payload, and refuses what was changed in the storage.

    Needs `pip install "perdure[encryption]"`. A key encrypts 2**32 payloads at most: with random
    nonces, more would make a repeated nonce likely enough to matter (NIST SP 800-38D, 8.3).
    """

    name = "aes-256-gcm"

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys` has 32 random bytes by the id of the key; the first encrypts, all decrypt.

        To rotate keys, deploy the new key as the last one everywhere, then as the first one. Remove
        the old key when nothing that it encrypted is stored any more. The ids are stored in clear:
        up to 64 letters, digits, `.`, `_` and `-`. `os.urandom(32)` makes a key.

        Raises `InvalidInput`, which shows no key.
        """
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise InvalidInput(
                'encryption needs the package cryptography; run `pip install "perdure[encryption]"`'
            ) from None
        if not isinstance(keys, Mapping) or not keys:  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
            raise InvalidInput(
                "the keys must be a mapping with one key at least; pass {'2026-11': os.urandom(32)}"
                " with a key that you keep"
            )
        for key_id, key in keys.items():
            _check(key_id, key)
        self._ciphers = {key_id: AESGCM(bytes(key)) for key_id, key in keys.items()}
        self._current = next(iter(keys))
        self._wrong_key = InvalidTag

    def __repr__(self) -> str:
        return f"Encrypted(keys of {', '.join(map(repr, self._ciphers))})"

    def encode(self, data: bytes) -> EncodedPayload:
        nonce = os.urandom(_NONCE)
        encrypted = self._ciphers[self._current].encrypt(nonce, data, self._current.encode())
        return EncodedPayload(nonce + encrypted, self._current)

    def decode(self, data: bytes, key: str) -> bytes:
        cipher = self._ciphers.get(key)
        if cipher is None:
            raise ValueError(f"the keys here are {', '.join(map(repr, self._ciphers))}")
        try:
            return cipher.decrypt(data[:_NONCE], data[_NONCE:], key.encode())
        except self._wrong_key:
            raise ValueError(
                f"another key has the id {key!r} here, or the payload was changed in the storage"
            ) from None


def _check(key_id: object, key: object) -> None:
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise InvalidInput(
            f"the key id {shown(key_id)} is not valid; use up to 64 letters, digits, '.', '_' and '-'"
        )
    if not isinstance(key, bytes | bytearray):
        raise InvalidInput(f"the key {key_id!r} is of type {type(key).__name__}; pass 32 bytes")
    if len(key) != _KEY:
        raise InvalidInput(f"the key {key_id!r} has {len(key)} bytes; pass 32, as os.urandom(32)")
