"""Creating an instance under an id that may be in use."""

from __future__ import annotations

from dataclasses import replace

from perdure.client import calls
from perdure.client.start_options import IfExists
from perdure.client.trees import delete_descendants, living_parent
from perdure.contract.provider import Provider
from perdure.errors import CapabilityMissing, InstanceAlreadyExists, InstanceRunning
from perdure.records.instances import NewInstance
from perdure.records.limits import DELETION, LISTING


async def create(provider: Provider, new: NewInstance, if_exists: IfExists) -> bool:
    """Create the instance, or do what `if_exists` says if another one has its id.

    Returns whether it is this one that exists now.
    """
    if new.labels and LISTING not in provider.capabilities:
        raise CapabilityMissing(LISTING, provider.description, what="labels are")
    if if_exists == "replace_ended":
        await _replace_ended(provider, new)
        return True
    try:
        await calls.create(provider, new)
    except InstanceAlreadyExists:
        if if_exists == "raise":
            raise
        return False
    return True


async def _replace_ended(provider: Provider, new: NewInstance) -> None:
    if DELETION not in provider.capabilities:
        raise CapabilityMissing(DELETION, provider.description)
    ended = await calls.read(provider, new.instance)
    if ended is not None:
        if not calls.has_ended(ended) or await living_parent(provider, ended) is not None:
            raise InstanceAlreadyExists(new.instance)
        try:
            await delete_descendants(provider, ended)
        except InstanceRunning as error:
            raise InstanceAlreadyExists(new.instance) from error
        # Of several callers that saw this incarnation, one replaces it; the others are refused.
        new = replace(new, replaces=ended.incarnation)
    await calls.create(provider, new)
