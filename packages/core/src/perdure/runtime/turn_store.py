"""How the lease of an instance ends in the store without a turn: given back, parked, failed.

Every way back is uncounted: no process has ended under the lease (LEASE-13, LEASE-21).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from perdure.contract.retries import PATIENT_TRIES, with_retries
from perdure.diagnostics.logs import of_instance
from perdure.errors import LeaseLost, ProviderError
from perdure.model.details import ErrorDetails
from perdure.records.instances import Message, ParkedMark
from perdure.records.turns import TurnRelease
from perdure.runtime.forced_failure import end_without_code
from perdure.runtime.held_instance import HeldInstance
from perdure.runtime.turn_services import TurnServices

_LOGGER = logging.getLogger("perdure.runtime")
_AFTER_FAILURE = timedelta(seconds=1)
"""How long an instance is hidden whose end could not be committed."""


async def give_back(
    services: TurnServices,
    held: HeldInstance,
    *,
    delay: timedelta = timedelta(0),
    parked: ParkedMark | None = None,
    tries: int = PATIENT_TRIES,
) -> None:
    """Give the lease back; if that fails it runs out."""
    provider, instance = services.provider, held.instance
    release = TurnRelease(lease=held.lease, delay=delay, counted=False, parked=parked)
    try:
        await with_retries(provider.clock, lambda: provider.release_turn(release), tries=tries)
    except ProviderError as error:
        fields = of_instance(instance)
        _LOGGER.warning("the lease of %r was not given back: %s", instance, error, extra=fields)
    if parked is not None:
        provider.notifier.notify_instance(instance)
    elif not delay:
        provider.notifier.notify_turns()


async def park(
    services: TurnServices,
    held: HeldInstance,
    reason: str,
    details: str,
    *,
    delay: timedelta | None = None,
    is_reported: bool = False,
    message_came: bool = False,
    tries: int = PATIENT_TRIES,
) -> None:
    """Give the lease back with a mark that says why the instance cannot go on.

    `delay`: how long to hide it; by default longer each time, and not at all if `message_came`
    under the lease. `is_reported`: a mark for this reason that the instance has already was
    reported, by whichever runtime left it.
    """
    instance, mark = held.instance, held.state.parked
    reported = is_reported and mark is not None and mark.reason == reason
    parked = services.parked.mark(instance, reason, details, reported=reported)
    if delay is None:
        delay = services.parked.next_delay(instance, message_came=message_came)
    await give_back(services, held, delay=delay, parked=parked, tries=tries)


async def fail(
    services: TurnServices,
    held: HeldInstance,
    messages: Sequence[Message],
    details: ErrorDetails,
) -> None:
    """End the instance as Failed without running its code; if that fails, give the lease back."""
    try:
        await end_without_code(services, held, messages, details)
    except ProviderError as error:
        instance = held.instance
        if isinstance(error, LeaseLost):
            services.skew.lease_lost(instance, held.until)
        else:
            fields = of_instance(instance)
            _LOGGER.warning("instance %r could not be ended: %s", instance, error, extra=fields)
        await give_back(services, held, delay=_AFTER_FAILURE)
