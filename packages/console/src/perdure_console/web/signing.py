"""Texts that only this application can have made: tokens of forms, logins, and messages in cookies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import cast


def sign(secret: str, purpose: str, text: str) -> str:
    """A signature of the text for one purpose."""
    made = hmac.new(secret.encode(), f"{purpose}\0{text}".encode(), hashlib.sha256)
    return made.hexdigest()


def is_signed(secret: str, purpose: str, text: str, signature: str) -> bool:
    """Whether `sign` made the signature."""
    made = sign(secret, purpose, text)
    return hmac.compare_digest(made.encode(), signature.encode("utf-8", "replace"))


def pack(secret: str, purpose: str, value: object) -> str:
    """A value as a signed text that fits a cookie."""
    text = base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
    return f"{text}.{sign(secret, purpose, text)}"


def unpack(secret: str, purpose: str, packed: str) -> object:
    """The value that `pack` packed; None for anything else."""
    text, _, signature = packed.rpartition(".")
    if not is_signed(secret, purpose, text, signature):
        return None
    try:
        return cast("object", json.loads(base64.urlsafe_b64decode(text.encode())))
    except ValueError:
        return None
