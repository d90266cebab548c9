"""The version of the contract, its capabilities, and the bounds that every provider keeps."""

from __future__ import annotations

from datetime import timedelta

CONTRACT: tuple[int, int] = (1, 1)
"""The major and minor version of the provider contract, independent of package versions."""

ENGINE = 3
"""The newest format of histories and messages that this core writes and reads: 2 adds patches, 3
what came with contract 1.1."""

ENGINE_WITH_PATCHES = 2
"""What an instance needs whose history has a patch."""

ENGINE_WITH_RECOVERY = 3
"""What an instance needs that is a rewound one or a fork, starts later, has headers, sets a custom
status or values, polls or raises events, limits when an activity begins, or got the result of an activity that
was delivered again."""

FIRST_ENGINE = 1
"""What a new instance needs. Its engine rises when its history gets what needs a newer one, so that
older runtimes go on with all other instances."""

MAX_MESSAGES_PER_DELIVERY = 1000
"""The most messages in a leased turn or in the answer of a commit."""

MAX_BYTES_PER_DELIVERY = 4 * 1024 * 1024
"""The most bytes of their payloads; at least one message is always returned."""

LONGEST_LEASE = timedelta(minutes=5)
"""The longest lease and the longest delay."""

ALLOWED_SKEW = timedelta(seconds=60)
"""How far clocks may differ: a lease or a delay that ends later than now + LONGEST_LEASE +
ALLOWED_SKEW is void."""

MANAGEMENT = "management"
"""Capability: `as_management_capability` returns a `ProviderAdmin`."""

PERSISTENT = "persistent"
"""Capability: acknowledged data survives the end of the process."""

SHARED = "shared"
"""Capability: several processes may open the same storage at once."""

RECOVERY = "recovery"
"""Capability of contract 1.1: `reopen_instance` and `terminate_instance`."""

DELETION = "deletion"
"""Capability of contract 1.1: deleting instances, executions, early events and the namespace, and
creating an instance in place of an ended one."""

VALUES = "values"
"""Capability of contract 1.1: the custom status and the values of an instance."""

TRANSACTIONS = "transactions"
"""Capability of contract 1.1: activities whose writes and result are one transaction."""

LISTING = "listing"
"""Capability of contract 1.1: labels, `find_instances` and `read_work`; it needs `management`."""
