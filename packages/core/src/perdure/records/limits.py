"""The version of the contract, its capabilities, and the bounds that every provider keeps."""

from __future__ import annotations

from datetime import timedelta

CONTRACT: tuple[int, int] = (1, 0)
"""Major and minor version of the provider contract, apart from the packages' versions."""

ENGINE = 1
"""The newest format of histories and messages that this core writes and reads."""

MAX_MESSAGES_PER_DELIVERY = 1000
"""A lease or a commit's answer carries at most this many messages."""

MAX_BYTES_PER_DELIVERY = 4 * 1024 * 1024
"""… and at most this many bytes of payload, but always at least one message."""

LONGEST_LEASE = timedelta(minutes=5)
"""No lease and no delay is longer."""

ALLOWED_SKEW = timedelta(seconds=60)
"""A lease or a delay that ends later than now + LONGEST_LEASE + ALLOWED_SKEW is over."""

MANAGEMENT = "management"
"""Capability: `as_management_capability` returns a `ProviderAdmin`."""

PERSISTENT = "persistent"
"""Capability: what was acknowledged is there after the process is gone."""

SHARED = "shared"
"""Capability: several processes may open the same storage at once."""
