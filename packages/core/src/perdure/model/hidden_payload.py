"""Payloads that a document does not show: a hash or a mark stands for the text."""

from __future__ import annotations

from typing import Literal, TypeAlias

Payloads: TypeAlias = Literal["full", "hash", "none"]
"""How a document has payloads: as they are, as hashes, or not at all."""
