"""Numbers the tasks and futures of an execution, so that their hashes are the same in every process.

asyncio keeps tasks and futures in sets, and iterates over them; the order of a set follows the
hashes of its members. A hash here is made of a digest of the execution and of the creation number:
the sets iterate alike in every process, and the members of different executions don't collide in
the set that asyncio keeps of all tasks.
"""

from __future__ import annotations

import hashlib

from perdure.replay.forbidden_calls import ForbiddingLoop

_MASK = (1 << 61) - 1  # what a hash can hold on every platform of 64 bits
_STRIDE = 0x9E3779B97F4A7C15  # odd and irregular: neighbours spread over a set's table
# Both are part of the format: another hash is another order of a set in a history's replay.


class StableHashLoop(ForbiddingLoop):
    """The part of the loop that numbers what is created on it."""

    def __init__(self, identity: str) -> None:
        digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
        self._base = int.from_bytes(digest)
        self.created = 0
        """How many tasks and futures were created."""

    def next_hash(self) -> int:
        """The hash of the next task or future."""
        self.created += 1
        return (self._base + self.created * _STRIDE) & _MASK
