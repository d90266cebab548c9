"""The document of an instance: all its histories as one JSON text, to keep beside the code.

    {"format": "perdure-history", "version": 1, "payloads": "full",
     "instance": "order-1", "orchestration": "process", "status": "Running",
     "executions": [{"number": 1, "events": [{"event_id": 1, "kind": "OrchestrationStarted", …}]}]}

An event has the members that the storage has, and its number. A later version of the format may
add members; a reader refuses a version that it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, cast

from pydantic_core import from_json, to_json

from perdure.errors import InvalidInput
from perdure.history import Event, decode_event, encode_event
from perdure.model.hidden_payload import Payloads
from perdure.model.record import record
from perdure.model.shown import shown
from perdure.records.instances import InstanceStatus

NAME: Final = "perdure-history"
VERSION: Final = 1
"""The version of the format; one more for a change that an earlier reader would misread."""


@record
class ExecutionHistory:
    """The history of one execution."""

    number: int
    """The number of the execution, from 1."""
    events: tuple[Event, ...]
    """Oldest first; empty before the first turn."""


@record
class HistoryDocument:
    """An instance with the histories of all its executions, as `Client.export_history` makes it."""

    instance: str
    """The id of the instance."""
    orchestration: str
    """The registered name of the orchestration."""
    status: InstanceStatus
    """The status of the newest execution when the document was made."""
    executions: tuple[ExecutionHistory, ...]
    """In ascending order."""
    payloads: Payloads = "full"
    """Whether payloads are kept, hashed, or left out."""

    def to_json(self) -> str:
        """The document as JSON text, one event a line."""
        head = {
            "format": NAME,
            "version": VERSION,
            "payloads": self.payloads,
            "instance": self.instance,
            "orchestration": self.orchestration,
            "status": self.status.value,
        }
        lines = ",\n".join(
            f'{{"number": {execution.number}, "events": [\n'
            + ",\n".join(_encode(event) for event in execution.events)
            + "\n]}"
            for execution in self.executions
        )
        members = json.dumps(head, ensure_ascii=False)[:-1]
        return f'{members}, "executions": [\n{lines}\n]}}\n'

    @classmethod
    def from_json(cls, text: str | bytes) -> HistoryDocument:
        """Read what `to_json` wrote; raises `InvalidInput` for anything else."""
        try:
            plain = cast("Mapping[str, object]", from_json(text))
            if plain["format"] != NAME:
                raise ValueError(f"its format is {shown(plain['format'])}")
            version = plain["version"]
            if version == VERSION:
                return cls(
                    instance=cast("str", plain["instance"]),
                    orchestration=cast("str", plain["orchestration"]),
                    status=InstanceStatus(cast("str", plain["status"])),
                    payloads=cast("Payloads", plain["payloads"]),
                    executions=tuple(
                        _execution(each)
                        for each in cast("list[Mapping[str, object]]", plain["executions"])
                    ),
                )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                f"the text is no history document: {error}; write one with client.export_history"
            ) from error
        raise InvalidInput(
            f"the history document has version {shown(version)} of the format, and this perdure"
            f" reads version {VERSION}; upgrade perdure"
        )


def _encode(event: Event) -> str:
    plain = cast("dict[str, object]", from_json(encode_event(event)))
    return json.dumps({"event_id": event.event_id, **plain}, ensure_ascii=False)


def _execution(plain: Mapping[str, object]) -> ExecutionHistory:
    events: list[Event] = []
    for each in cast("list[dict[str, object]]", plain["events"]):
        number = cast("int", each.pop("event_id"))
        events.append(decode_event(number, to_json(each)))
    return ExecutionHistory(number=cast("int", plain["number"]), events=tuple(events))
