"""Randomness that replays: every stream is seeded by the execution and a name."""

from __future__ import annotations

import hashlib
import random
from uuid import UUID


class Randomness:
    """The random numbers and UUIDs of one execution; anyone who knows its id can predict them."""

    __slots__ = ("_random", "_seed", "_uuids")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._uuids = 0
        self._random: random.Random | None = None

    def reseed(self, seed: str) -> None:
        """Go on with the random numbers and UUIDs of another seed."""
        self._seed = seed
        if self._random is not None:
            self._random.seed(f"{seed}/random")

    def uuid(self) -> UUID:
        """The next UUID of the execution's own sequence."""
        self._uuids += 1
        digest = hashlib.blake2b(f"{self._seed}/uuid/{self._uuids}".encode(), digest_size=16)
        return UUID(bytes=digest.digest(), version=4)

    def random(self) -> random.Random:
        """The source of the orchestration's random numbers."""
        if self._random is None:
            self._random = self.stream("random")
        return self._random

    def stream(self, name: str) -> random.Random:
        """A separate source, independent of the others."""
        return random.Random(f"{self._seed}/{name}")  # noqa: S311 # replayed, not secret
