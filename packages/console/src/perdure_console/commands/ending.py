"""The commands `cancel` and `terminate`."""

from __future__ import annotations

from perdure import NotFound, Running
from perdure.errors import InstanceNotFound

from perdure_console.choosing import Instance, Reason
from perdure_console.program import DONE, WORK, Yes, command
from perdure_console.session import Session

_REASON = "requested by an operator"


@command(WORK)
async def cancel(session: Session, instance: Instance, reason: Reason = _REASON) -> int:
    """Ask an instance to end, with its cleanup."""
    async with session.client() as client:
        status = await client.get_orchestration_status(instance)
        if isinstance(status, NotFound):
            raise InstanceNotFound(instance)
        await client.cancel_instance(instance, reason)
    asked = isinstance(status, Running)
    if session.as_json:
        session.print_json({"instance": instance, "asked": asked})
    else:
        session.say(f"{instance} {'is asked to end' if asked else 'had ended before'}")
    return DONE


@command(WORK)
async def terminate(
    session: Session, instance: Instance, reason: Reason = _REASON, yes: Yes = False
) -> int:
    """End an instance at once, without its cleanup. It asks before."""
    async with session.client() as client:
        if isinstance(await client.get_orchestration_status(instance), NotFound):
            raise InstanceNotFound(instance)
        session.confirm(f"End {instance} at once, without its cleanup?", yes=yes)
        terminated = await client.terminate_instance(instance, reason)
    if session.as_json:
        session.print_json({"instance": instance, "terminated": terminated})
    else:
        session.say(f"{instance} {'was terminated' if terminated else 'had ended before'}")
    return DONE
