"""What all parts of a client share: the provider, the checks of a call, and its retries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias, TypeVar

from perdure.client import calls
from perdure.contract.admin import ProviderAdmin
from perdure.contract.provider import Provider
from perdure.contract.retries import with_retries
from perdure.errors import CapabilityMissing, InstanceNotFound, ManagementNotAvailable
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.identifiers import check_identifier
from perdure.records.instances import InstanceState

R = TypeVar("R")

Wait: TypeAlias = Callable[[timedelta | float | None], Awaitable[R]]
"""A wait, to be called with its timeout."""

_INSTEAD = "call it in an activity, whose context has a client"


class ClientPart:
    """A group of the methods of a client; `Client` consists of all groups."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def _enter(self, call: str, *capabilities: str) -> None:
        """Refuse the call inside an orchestration, and on a provider without what it needs."""
        refuse_inside_orchestration(call, _INSTEAD)
        for capability in capabilities:
            if capability not in self._provider.capabilities:
                raise CapabilityMissing(capability, self._provider.description)

    def _admin(self, call: str, *capabilities: str) -> ProviderAdmin:
        """The management capability; raises `ManagementNotAvailable`."""
        self._enter(call, *capabilities)
        admin = self._provider.as_management_capability()
        if admin is None:
            raise ManagementNotAvailable(self._provider.description)
        return admin

    async def _existing(self, instance: str) -> InstanceState:
        """The state of an instance; raises `InstanceNotFound`."""
        check_identifier(instance, "instance id")
        state = await calls.read(self._provider, instance)
        if state is None:
            raise InstanceNotFound(instance)
        return state

    async def _retried(self, call: Callable[[], Awaitable[R]]) -> R:
        return await with_retries(self._provider.clock, call)

    async def _waiting(self, instance: str, timeout: timedelta | float | None, wait: Wait[R]) -> R:
        """Make a wait of this client; one in a test lets time pass meanwhile."""
        del instance
        return await wait(timeout)
