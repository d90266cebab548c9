"""The message by which a parent learns how a child ended, told by the child or by a client."""

from __future__ import annotations

from perdure.model.details import ErrorDetails
from perdure.model.message_ids import child_result_id
from perdure.model.wire import ResultData, encode_result
from perdure.records.instances import Message, MessageKind, ParentLink


def child_answer(
    parent: ParentLink, result: str | None, details: ErrorDetails | None = None
) -> Message:
    """The answer of a child: its result as JSON text, or why it failed.

    It is for every execution of the parent that has kept the schedule event of the child, not for
    one alone: the parent may be rewound meanwhile, and drops what it does not wait for.
    """
    return Message(
        id=child_result_id(parent.execution, parent.event),
        instance=parent.instance,
        incarnation=parent.incarnation,
        kind=MessageKind.CHILD,
        data=encode_result(
            ResultData(
                scheduled=parent.event,
                execution=parent.execution,
                result=result,
                details=details,
            )
        ),
    )
