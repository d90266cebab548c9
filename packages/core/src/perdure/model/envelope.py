"""The envelope of a payload that a codec has encoded: it says which codec, and with which key.

Everything that core itself encodes is JSON, which never begins as an envelope does. A payload
without one is therefore plain.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic_core import from_json

_BEGIN: Final = b"\0PC1"
_END: Final = b"\0"


def seal(data: bytes, codec: str, key: str = "") -> bytes:
    """The envelope around what a codec of this name returned; `key` is the id of its key."""
    label = f"{codec}:{key}" if key else codec
    return b"".join((_BEGIN, label.encode(), _END, data))


def is_sealed(data: bytes) -> bool:
    """Whether a codec has encoded the payload."""
    return data.startswith(_BEGIN)


def open_envelope(data: bytes) -> tuple[str, str, bytes]:
    """The name of the codec, the id of its key, and what it encoded; raises ValueError."""
    label, end, body = data[len(_BEGIN) :].partition(_END)
    if not end:
        raise ValueError("the envelope of the payload has no end")
    codec, _, key = label.decode().partition(":")
    return codec, key, body


def plain_json(data: bytes) -> Any:
    """The value of a payload that is JSON; raises ValueError, which names the codec if it is encoded."""
    try:
        return from_json(data)
    except ValueError:
        refuse_sealed(data)
        raise


def plain_text(data: bytes) -> str:
    """The text of a payload; raises ValueError, which names the codec if it is encoded."""
    refuse_sealed(data)
    return data.decode()


def refuse_sealed(data: bytes) -> None:
    """Raise ValueError, which names codec and key, if the payload is still encoded."""
    if not is_sealed(data):
        return
    codec, key, _ = open_envelope(data)
    with_key = f" and the key {key!r}" if key else ""
    raise ValueError(
        f"it is encoded by the codec {codec!r}{with_key}, and cannot be decoded here; pass that"
        " codec, with its key, as `codec` when you open the provider"
    )
