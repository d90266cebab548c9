"""How an instance ended: waiting for the final status, and the result that it holds."""

from __future__ import annotations

from datetime import timedelta

from perdure.client.calls import status_of
from perdure.client.watching import until_ended
from perdure.contract.provider import Provider
from perdure.errors import OrchestrationFailed
from perdure.model.durations import to_duration
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.identifiers import check_identifier
from perdure.model.payload import decode
from perdure.model.status import Completed, Failed, Running


async def wait_for_status(
    provider: Provider, instance: str, timeout: timedelta | float | None
) -> Completed | Failed:
    """The final status of the instance; raises `WaitTimeout`."""
    refuse_inside_orchestration(
        "wait_for_orchestration", "schedule it as a sub-orchestration and await that"
    )
    check_identifier(instance, "instance id")
    limit = None if timeout is None else to_duration(timeout, "timeout")
    status = status_of(await until_ended(provider, instance, limit))
    if isinstance(status, Running):
        raise AssertionError(f"instance {instance!r} ended and is running")
    return status


def result_of(instance: str, status: Completed | Failed, result_type: object) -> object:
    """The output, decoded; raises `OrchestrationFailed`, or `InvalidPayload` where it does not fit."""
    if isinstance(status, Failed):
        raise OrchestrationFailed(instance, status.details)
    return decode(status.output, result_type, what=f"output of instance {instance!r}")
