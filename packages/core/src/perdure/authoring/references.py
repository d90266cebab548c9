"""What a registered function says about itself: the name it stands for, and its types.

A decorated function carries one of these records as an attribute, so that a client can take the
function itself without knowing the registry. A reference is a name: which version runs is decided
when the target first runs. Nothing here registers or calls anything.
"""

from __future__ import annotations

from dataclasses import dataclass

ORCHESTRATION_ATTRIBUTE = "__perdure_orchestration__"
ACTIVITY_ATTRIBUTE = "__perdure_activity__"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationReference:
    """What a function that is registered as an orchestration stands for."""

    name: str
    version: str
    """The version that this function is registered as; a call does not pin it."""
    input_type: object
    """The annotation of its input; None where it takes none, `Any` where it has no annotation."""
    result_type: object
    takes_input: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityReference:
    """What a function that is registered as an activity stands for."""

    name: str
    input_type: object
    """The annotation of its input; None where it takes none, `Any` where it has no annotation."""
    result_type: object
    takes_input: bool


def orchestration_reference(function: object) -> OrchestrationReference | None:
    """What the function stands for, or None where it is not registered as an orchestration."""
    reference = getattr(function, ORCHESTRATION_ATTRIBUTE, None)
    return reference if isinstance(reference, OrchestrationReference) else None


def activity_reference(function: object) -> ActivityReference | None:
    """What the function stands for, or None where it is not registered as an activity.

    A bound method that was registered has none: its function is shared by all objects of the
    class, so it is called by its name.
    """
    reference = getattr(function, ACTIVITY_ATTRIBUTE, None)
    return reference if isinstance(reference, ActivityReference) else None
