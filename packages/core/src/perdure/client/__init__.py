"""The client: starts instances, sends them events, waits for them, and lists what is stored.

- `client`: the public class, which consists of these groups of methods:
  `starts`, `recovery`, `deletion`, `listing`, `describing`, `progress`, `management`
- `part`, `arguments`: what the groups share
- `start_options`, `starting`, `creating`: from the arguments of a start to an instance
- `calls`: creating, raising events, cancelling and reading, as functions of a provider
- `waiting`, `outcome`, `watching`: waits for an instance, decodes its result, yields its changes
- `histories`, `open_work`: reads a history, and what it leaves open
- `reopening`, `ending`, `trees`: running an instance again, ending it, an instance with its children
- `doing`: what an instance does now, in words
- `handle`: one instance, with the type of its result
- `info`, `description`, `page`, `instance_filter`: what the methods return and take
- `any_loop`: calls from event loops other than the provider's
- `blocking`, `blocking_calls`, `blocking_handle`, `blocking_watch`, `loop_thread`: the client for
  code without an event loop

The client reaches a runtime only through the provider, and keeps no state of its own.
"""

from perdure.client.blocking import BlockingClient
from perdure.client.blocking_handle import BlockingHandle
from perdure.client.blocking_watch import BlockingWatch
from perdure.client.client import Client
from perdure.client.description import (
    InstanceDescription,
    KeptEvent,
    OpenActivity,
    OpenTimer,
    OpenWait,
)
from perdure.client.handle import Handle
from perdure.client.info import ExecutionInfo, InstanceInfo, QueueDepths, SystemMetrics
from perdure.client.instance_filter import InstanceFilter
from perdure.client.page import Page
from perdure.client.recovery import RetriedInstances
from perdure.client.start_options import StartOptions
from perdure.client.trees import InstanceTree
from perdure.client.watching import InstanceWatch

__all__ = [
    "BlockingClient",
    "BlockingHandle",
    "BlockingWatch",
    "Client",
    "ExecutionInfo",
    "Handle",
    "InstanceDescription",
    "InstanceFilter",
    "InstanceInfo",
    "InstanceTree",
    "InstanceWatch",
    "KeptEvent",
    "OpenActivity",
    "OpenTimer",
    "OpenWait",
    "Page",
    "QueueDepths",
    "RetriedInstances",
    "StartOptions",
    "SystemMetrics",
]
