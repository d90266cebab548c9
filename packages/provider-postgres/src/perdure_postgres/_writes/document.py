"""The document of a group of writes: lists of changes, each with the number of its write.

Payloads stand beside the document, which names them by their place. A list that would be empty is
left out, and the database skips the step that it is for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from perdure.contract import Instant, Message, MessageKind, NewInstance

from perdure_postgres._histories import segments_of
from perdure_postgres._texts import stored


class Document:
    """What a group of writes changes."""

    def __init__(self, now: Instant) -> None:
        self.now = now
        """The time of all of its writes."""
        self.payloads: list[bytes] = []
        self._lists: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._marks: dict[str, bool] = {}
        self._ids: set[str] = set()
        self._item = 0
        self._place = 0

    def begin(self, kind: str, instance: str | None = None, /, **fields: object) -> None:
        """Begin the next write; what is added from now on belongs to it."""
        self._item += 1
        self._place = 0
        if instance is not None:
            self._ids.add(stored(instance))
            fields["instance"] = stored(instance)
        self.add("items", kind=kind, **fields)

    def add(self, name: str, /, **fields: object) -> None:
        """Add a change to a list; fields that are None are left out."""
        given = {key: value for key, value in fields.items() if value is not None}
        self._lists[name].append({"i": self._item, **given})

    def mark(self, name: str) -> None:
        """Ask for a step that not every group needs."""
        self._marks[name] = True

    def append(self, events: Sequence[bytes]) -> None:
        """Append events to the history of the instance of this write."""
        for segment in segments_of(events):
            self.add("events", n=segment.last, c=segment.count, d=self.payload(segment.data))

    def payload(self, data: bytes | None) -> int | None:
        """The place of a payload, from 1."""
        if data is None:
            return None
        self.payloads.append(data)
        return len(self.payloads)

    def next_place(self) -> int:
        """A number that grows within a write."""
        self._place += 1
        return self._place

    def send(
        self,
        message: Message,
        *,
        front: bool = False,
        begins: bool = False,
        refused: NewInstance | None = None,
    ) -> None:
        """Put a message into its mailbox.

        With `begins` only if its instance was created by this group; with `refused` only if
        another incarnation has the id of that one.
        """
        instance = stored(message.instance)
        self._ids.add(instance)
        self.add(
            "send",
            o=self.next_place(),
            instance=instance,
            incarnation=stored(message.incarnation),
            execution=message.execution,
            id=stored(message.id),
            kind=message.kind.value,
            visible_at=message.visible_at,
            d=self.payload(message.data),
            front=front or None,
            begins=begins or None,
            refused=None if refused is None else stored(refused.instance),
            wanted=None if refused is None else stored(refused.incarnation),
        )
        if message.kind is MessageKind.EVENT:
            self.add("awaited", id=instance)
        if message.kind is MessageKind.CANCEL and message.visible_at is None:
            self.add(
                "cancels",
                instance=instance,
                incarnation=stored(message.incarnation),
                execution=message.execution,
            )
        if front:
            self.add("front", id=stored(message.id))

    def create(self, new: NewInstance) -> None:
        """Create an instance, unless its id is in use."""
        parent = new.parent
        self._ids.add(stored(new.instance))
        self.add(
            "create",
            o=self.next_place(),
            instance=stored(new.instance),
            incarnation=stored(new.incarnation),
            name=stored(new.name),
            version=stored(new.version),
            engine=new.engine,
            replaces=stored(new.replaces),
            parent=None
            if parent is None
            else [
                stored(parent.instance),
                stored(parent.incarnation),
                parent.execution,
                parent.event,
            ],
            labels={stored(key): stored(value) for key, value in new.labels.items()} or None,
        )
        if new.labels:
            self.mark("labels")
        self.send(new.start, begins=True)

    def text(self) -> str:
        """The document as JSON text."""
        return json.dumps(
            {**self._lists, **self._marks, "ids": sorted(self._ids)}, ensure_ascii=False
        )
