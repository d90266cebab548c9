"""The outcome of an instance: waiting until it has ended, and decoding its result."""

from __future__ import annotations

from datetime import timedelta

from perdure.client.calls import has_ended, status_of
from perdure.client.waiting import until
from perdure.contract.provider import Provider
from perdure.errors import OrchestrationFailed
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.identifiers import check_identifier
from perdure.model.payload import decode
from perdure.model.status import Completed, Failed, Running
from perdure.records.instances import InstanceState


async def wait_for_status(
    provider: Provider, instance: str, timeout: timedelta | float | None
) -> Completed | Failed:
    """The final status of the instance; raises `WaitTimeout`."""
    refuse_inside_orchestration(
        "wait_for_orchestration", "schedule it as a sub-orchestration and await that"
    )
    check_identifier(instance, "instance id")
    status = status_of(await until_ended(provider, instance, timeout))
    if isinstance(status, Running):
        raise AssertionError(f"instance {instance!r} ended and is running")
    return status


async def until_ended(
    provider: Provider, instance: str, timeout: timedelta | float | None
) -> InstanceState:
    """The state of the instance once it has ended; it need not exist yet."""

    async def look(state: InstanceState | None) -> InstanceState | None:
        return state if state is not None and has_ended(state) else None

    return await until(provider, instance, timeout, look, until_ended=True)


def result_of(instance: str, status: Completed | Failed, result_type: object) -> object:
    """The decoded output; raises `OrchestrationFailed`, or `InvalidPayload` if it does not fit."""
    if isinstance(status, Failed):
        raise OrchestrationFailed(instance, status.details)
    return decode(status.output, result_type, what=f"output of instance {instance!r}")
