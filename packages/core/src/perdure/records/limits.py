"""The version of the contract, its capabilities, and the bounds that every provider keeps."""

from __future__ import annotations

from datetime import timedelta

CONTRACT: tuple[int, int] = (1, 0)
"""Major and minor version of the provider contract, apart from the packages' versions."""

ENGINE = 1
"""The newest format of histories and messages that this core writes and reads."""

MAX_MESSAGES_PER_DELIVERY = 1000
"""The most messages that a lease or the answer of a commit carries."""

MAX_BYTES_PER_DELIVERY = 4 * 1024 * 1024
"""The most bytes of payload that they carry; at least one message is always delivered."""

LONGEST_LEASE = timedelta(minutes=5)
"""The longest lease and the longest delay."""

ALLOWED_SKEW = timedelta(seconds=60)
"""A lease or a delay that ends later than now + LONGEST_LEASE + ALLOWED_SKEW is over."""

MANAGEMENT = "management"
"""Capability: `as_management_capability` returns a `ProviderAdmin`."""

PERSISTENT = "persistent"
"""Capability: what was acknowledged is there after the process is gone."""

SHARED = "shared"
"""Capability: several processes may open the same storage at once."""
