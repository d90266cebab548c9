"""Hashes of tasks and futures that are the same in every process.

asyncio keeps tasks and futures in sets and iterates over them, in an order that follows their
hashes. A hash here consists of a digest of the execution and the creation number. The sets then
iterate alike in every process, and members of different executions do not collide in the set that
asyncio keeps of all tasks.
"""

from __future__ import annotations

import hashlib

from perdure.replay.forbidden_calls import ForbiddingLoop

_MASK = (1 << 61) - 1  # what a hash can hold on every platform of 64 bits
_STRIDE = 0x9E3779B97F4A7C15  # odd and irregular: neighbours spread over a set's table
# Both are part of the format: another hash would change the order of sets in the replay of histories.


class StableHashLoop(ForbiddingLoop):
    """The part of the loop that hashes tasks and futures by their number."""

    def __init__(self, identity: str) -> None:
        digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
        self._base = int.from_bytes(digest)
        self.created = 0
        """How many tasks and futures were created."""

    def next_hash(self) -> int:
        """The hash of the next task or future."""
        self.created += 1
        return (self._base + self.created * _STRIDE) & _MASK
