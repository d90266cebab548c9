"""The ids of messages and activities.

An id is fixed by what the message is about, so that sending it again after a lost answer has no
effect: a mailbox holds an id once. The ids are stored, so their form never changes.
"""

from __future__ import annotations

_EVENT = "event:"

CANCEL_ID = "cancel"
"""The id of every request to cancel: a mailbox holds one, however often it is made."""


def start_id(incarnation: str) -> str:
    """The id of the start message of a new instance."""
    return f"start:{incarnation}"


def restart_id(incarnation: str, execution: int) -> str:
    """The id of the start message of a later execution, after a continue as new."""
    return f"start:{incarnation}:{execution}"


def event_message_id(event_id: str) -> str:
    """The id of an external event's message.

    The prefix separates event ids, which callers choose, from the ids of other messages.
    """
    return f"{_EVENT}{event_id}"


def event_id_of(message_id: str) -> str:
    """The event id in the id of an external event's message."""
    return message_id.removeprefix(_EVENT)


def activity_id(execution: int, event: int) -> str:
    """The id of the activity that a schedule event queues."""
    return f"{execution}:{event}"


def activity_result_id(activity: str) -> str:
    """The id of the message with the result of an activity."""
    return f"activity:{activity}"


def activity_start_id(activity: str) -> str:
    """The id of the message that an activity has begun."""
    return f"started:{activity}"


def timer_id(execution: int, event: int) -> str:
    """The id of the message of a timer."""
    return f"timer:{execution}:{event}"


def child_result_id(execution: int, event: int) -> str:
    """The id of the message with the result of a sub-orchestration, for the parent's execution."""
    return f"child:{execution}:{event}"


def refused_child_id(execution: int, event: int) -> str:
    """The id of the message that a sub-orchestration was not started, because its id is in use."""
    return f"refused:{execution}:{event}"
