"""The outcome of an instance: waiting until it has ended, and decoding its result."""

from __future__ import annotations

from datetime import timedelta

from perdure.client.calls import details_of, has_ended, status_of, text_of
from perdure.client.waiting import until
from perdure.contract.provider import Provider
from perdure.errors import OrchestrationFailed
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.identifiers import check_identifier
from perdure.model.payload import decode
from perdure.model.status import Completed, Failed, Running
from perdure.records.instances import InstanceState, InstanceStatus


async def wait_for_end(
    provider: Provider,
    instance: str,
    timeout: timedelta | float | None,
    *,
    just_started: bool = False,
) -> InstanceState:
    """The state of the instance once it has ended; raises `WaitTimeout`."""
    refuse_inside_orchestration(
        "wait_for_orchestration", "schedule it as a sub-orchestration and await that"
    )
    check_identifier(instance, "instance id")
    return await until_ended(provider, instance, timeout, just_started=just_started)


async def until_ended(
    provider: Provider,
    instance: str,
    timeout: timedelta | float | None,
    *,
    just_started: bool = False,
) -> InstanceState:
    """The state of the instance once it has ended; it need not exist yet."""

    async def look(state: InstanceState | None) -> InstanceState | None:
        return state if state is not None and has_ended(state) else None

    return await until(
        provider, instance, timeout, look, until_ended=True, just_started=just_started
    )


def final_status(state: InstanceState) -> Completed | Failed:
    """The status of an instance that has ended."""
    status = status_of(state)
    if isinstance(status, Running):
        raise AssertionError(f"instance {state.instance!r} ended and is running")
    return status


def result_of(state: InstanceState, result_type: object) -> object:
    """The decoded output; raises `OrchestrationFailed`, or `InvalidPayload` if it does not fit.

    It reads the output alone, so a custom status that cannot be decoded does not hide the result.
    """
    if state.status is InstanceStatus.FAILED:
        raise OrchestrationFailed(state.instance, details_of(state.output, state.instance))
    output = text_of(state.output, state.instance)
    return decode(output, result_type, what=f"output of instance {state.instance!r}")
