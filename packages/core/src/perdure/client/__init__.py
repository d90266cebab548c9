"""The client: starting instances, talking to them, waiting for them, looking at what is stored.

- `starting`: makes the record of a new instance out of a function or a name, and an input
- `calls`: starting, raising, cancelling and reading, as functions of a provider
- `watching`: waits until an instance has ended
- `handle`: one instance, with the type of its result
- `info`, `page`, `management`: what is stored, seen from the management capability
- `client`: the face of all that
- `loop_thread`, `blocking`: the same face for code without an event loop

The client reaches a runtime only through the provider, and keeps no state of its own.
"""

from perdure.client.blocking import BlockingClient, BlockingHandle
from perdure.client.client import Client
from perdure.client.handle import Handle
from perdure.client.info import ExecutionInfo, InstanceInfo, QueueDepths, SystemMetrics
from perdure.client.page import Page

__all__ = [
    "BlockingClient",
    "BlockingHandle",
    "Client",
    "ExecutionInfo",
    "Handle",
    "InstanceInfo",
    "Page",
    "QueueDepths",
    "SystemMetrics",
]
