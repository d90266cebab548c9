"""The memory provider of Perdure: the reference implementation of the provider contract.

- `_options`: what a `memory://` URL says
- `_plugin`: what the package declares to Perdure
- `_provider`, `_admin`: the contract's methods
- `_named`: the stores of this process by name
- `_store`, `_commit`: the rows, and what a commit does to them
- `_rows`, `_mailbox`, `_leasing`, `_timeline`: what the store is made of
- `_waiting`: waking those who wait
- `_harness`: back doors for the conformance suite
"""

from perdure_memory._named import drop
from perdure_memory._options import MemoryOptions
from perdure_memory._provider import MemoryProvider

__all__ = ["MemoryOptions", "MemoryProvider", "drop"]
