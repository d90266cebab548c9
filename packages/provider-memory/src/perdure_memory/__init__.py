"""The memory provider of Perdure: the reference implementation of the provider contract.

- `_options`, `_plugin`: the options in a `memory://` URL, and what the package declares to Perdure
- `_provider`, `_admin`: the methods of the contract
- `_named_stores`: the stores of this process by name
- `_store`, `_commit`, `_recovery`: a store, and carrying out a commit, a reopening, a termination
- `_instances`, `_mailbox`: instances with their executions, activities and messages
- `_early_events`: events for instances that do not exist yet
- `_listing_index`: which instances a listing looks at
- `_ready_index`, `_time_index`, `_end_index`: what can be leased now, and what later
- `_notifications`: waking calls that wait
- `_conformance_backend`: what the conformance suite uses beside the provider
"""

from perdure_memory._named_stores import drop
from perdure_memory._options import MemoryOptions
from perdure_memory._provider import MemoryProvider

__all__ = ["MemoryOptions", "MemoryProvider", "drop"]
