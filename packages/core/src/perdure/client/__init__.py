"""The client: starts instances, sends them events, waits for them, and lists what is stored.

- `client`: the public class, which consists of these groups of methods:
  `starts`, `recovery`, `management`
- `part`: what the groups share
- `start_options`, `starting`, `creating`: from the arguments of a start to an instance
- `calls`: creating, raising events, cancelling and reading, as functions of a provider
- `outcome`: waits until an instance has ended, and decodes its result
- `reopening`, `ending`, `trees`: running an instance again, ending it, its children
- `handle`: one instance, with the type of its result
- `info`, `page`, `instance_filter`: what the methods return and take
- `any_loop`: calls from event loops other than the provider's
- `blocking`, `blocking_calls`, `blocking_handle`, `loop_thread`: the client for code without an
  event loop

The client reaches a runtime only through the provider, and keeps no state of its own.
"""

from perdure.client.blocking import BlockingClient
from perdure.client.blocking_handle import BlockingHandle
from perdure.client.client import Client
from perdure.client.handle import Handle
from perdure.client.info import ExecutionInfo, InstanceInfo, QueueDepths, SystemMetrics
from perdure.client.instance_filter import InstanceFilter
from perdure.client.page import Page
from perdure.client.recovery import RetriedInstances
from perdure.client.start_options import StartOptions

__all__ = [
    "BlockingClient",
    "BlockingHandle",
    "Client",
    "ExecutionInfo",
    "Handle",
    "InstanceFilter",
    "InstanceInfo",
    "Page",
    "QueueDepths",
    "RetriedInstances",
    "StartOptions",
    "SystemMetrics",
]
