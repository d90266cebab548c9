"""The model: a small, complete provider over plain tables, and a start for authors.

- `tables`: the tables and what their rows hold
- `mailboxes`: messages: void or not, visible or not, in which order
- `activities`: the activity queue
- `values`: what an instance keeps for readers outside it
- `turns`: instances, turn leases and commits
- `recovery`: instances that run again, or end without a turn
- `deletion`: deleting instances, executions and events
- `store`: all of these rules together
- `management`, `listing`: the management capability, and with it the listing capability
- `provider`: the contract's methods over a store

It keeps every clause by the plainest means: each call is one synchronous step over dictionaries.
It persists nothing. `python -m perdure_conformance new` copies it into a package of its own.
"""

from perdure_conformance.model.provider import ModelProvider
from perdure_conformance.model.store import Store

__all__ = ["ModelProvider", "Store"]
