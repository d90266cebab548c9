"""The client: starts instances, sends them events, waits for them, and lists what is stored.

- `client`: the public class
- `starting`: from a function or a name, and an input, to the record of a new instance
- `calls`: creating, raising events, cancelling and reading, as functions of a provider
- `outcome`: waits until an instance has ended, and decodes its result
- `handle`: one instance, with the type of its result
- `management`, `info`, `page`: the methods of the management capability, and what they return
- `any_loop`: calls from event loops other than the provider's
- `blocking`, `loop_thread`: the client for code without an event loop

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
