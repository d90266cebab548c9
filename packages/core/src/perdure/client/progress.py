"""Progress: what an orchestration tells of itself while it runs, its custom status and its values.

Both outlive the executions, and stay readable after the end. Values need the capability `values`.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, cast

from perdure.client import calls
from perdure.client.any_loop import on_any_loop
from perdure.client.arguments import check_count
from perdure.client.part import ClientPart
from perdure.client.waiting import until
from perdure.errors import InstanceNotFound, ValueNotFound
from perdure.model.identifiers import check_identifier
from perdure.model.payload import check_annotation, decode
from perdure.model.status import Completed, Failed, Running
from perdure.model.values import check_key
from perdure.records.instances import InstanceState
from perdure.records.limits import VALUES
from perdure.records.queries import InstanceValues

if TYPE_CHECKING:
    from typing_extensions import TypeForm

R = TypeVar("R")


class ProgressClient(ClientPart):
    """The methods that read and await custom statuses and values."""

    @on_any_loop
    async def get_values(self, instance: str) -> dict[str, str]:
        """All values of an instance as JSON texts, by their keys; raises `InstanceNotFound`."""
        self._enter("get_values", VALUES)
        check_identifier(instance, "instance id")
        stored = await self._values(instance, None)
        if stored is None:
            raise InstanceNotFound(instance)
        return {key: calls.text_of(data, instance) for key, data in stored.values.items()}

    @on_any_loop
    async def get_value(self, instance: str, key: str, value_type: TypeForm[R]) -> R | None:
        """A value of an instance, decoded by this type; None if the instance has none of this key.

        Raises `InstanceNotFound`, and `InvalidPayload` if the value does not fit the type.
        """
        self._enter("get_value", VALUES)
        check_identifier(instance, "instance id")
        check_key(key)
        check_annotation(value_type, "value_type")
        stored = await self._values(instance, key)
        if stored is None:
            raise InstanceNotFound(instance)
        return _decoded(stored, instance, key, value_type)

    @on_any_loop
    async def wait_for_value(
        self,
        instance: str,
        key: str,
        value_type: TypeForm[R],
        timeout: timedelta | float | None = None,
    ) -> R:
        """Wait until an instance has a value of this key, and return it, decoded by this type.

        The instance need not exist yet. Raises `ValueNotFound` if it ends without the value,
        `WaitTimeout`, and `InvalidPayload` if the value does not fit the type. `timeout` is that of
        `wait_for_orchestration`.
        """
        self._enter("wait_for_value", VALUES)
        check_identifier(instance, "instance id")
        check_key(key)
        check_annotation(value_type, "value_type")

        async def look(state: InstanceState | None) -> InstanceValues | None:
            if state is None:
                return None
            stored = await self._provider.read_values(instance, keys=frozenset({key}))
            if stored is not None and key in stored.values:
                return stored
            if calls.has_ended(state):
                raise ValueNotFound(instance, key)
            return None

        def wait(limit: timedelta | float | None) -> Awaitable[InstanceValues]:
            waits_for = f"set the value {key!r}"
            return until(self._provider, instance, limit, look, waits_for=waits_for)

        stored = await self._waiting(instance, timeout, wait)
        return cast("R", _decoded(stored, instance, key, value_type))

    @on_any_loop
    async def wait_for_status_change(
        self,
        instance: str,
        seen_version: int = 0,
        timeout: timedelta | float | None = None,
    ) -> Running | Completed | Failed:
        """Wait until the custom status is another than the caller saw, or the instance has ended.

        `seen_version` is the `custom_status_version` of the last status that the caller has; 0 waits
        for the first one. The instance need not exist yet. Raises `WaitTimeout`.
        """
        self._enter("wait_for_status_change")
        check_identifier(instance, "instance id")
        check_count(seen_version, "seen_version", least=0)

        async def look(state: InstanceState | None) -> InstanceState | None:
            if state is None:
                return None
            # Not by order: an instance that was started again under the id begins at 0.
            is_another = state.custom_status_version != seen_version
            return state if is_another or calls.has_ended(state) else None

        def wait(limit: timedelta | float | None) -> Awaitable[InstanceState]:
            waits_for = "change its custom status"
            return until(self._provider, instance, limit, look, waits_for=waits_for)

        return calls.status_of(await self._waiting(instance, timeout, wait))

    async def _values(self, instance: str, key: str | None) -> InstanceValues | None:
        keys = None if key is None else frozenset({key})
        return await self._retried(lambda: self._provider.read_values(instance, keys=keys))


def _decoded(stored: InstanceValues, instance: str, key: str, value_type: TypeForm[R]) -> R | None:
    if key not in stored.values:
        return None
    text = calls.text_of(stored.values[key], instance)
    return cast("R", decode(text, value_type, what=f"value {key!r} of instance {instance!r}"))
