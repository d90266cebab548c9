"""External events for instances that do not exist yet, kept for them."""

from __future__ import annotations

from itertools import islice

from perdure.contract import Instant, Message

from perdure_memory._mailbox import Mailbox


class EarlyEvents:
    """Events by the id that they wait for, with the stamps of their arrival."""

    def __init__(self) -> None:
        self._mailboxes: dict[str, Mailbox] = {}
        self._arrivals: dict[str, dict[str, Instant]] = {}

    def put(self, message: Message, stamp: Instant) -> None:
        """Keep an event; one whose id is kept already is dropped."""
        self._mailboxes.setdefault(message.instance, Mailbox()).put(message, stamp)
        self._arrivals.setdefault(message.instance, {}).setdefault(message.id, stamp)

    def take(self, instance_id: str) -> Mailbox:
        """Remove the events for an id, and return them as the mailbox of the instance."""
        self._arrivals.pop(instance_id, None)
        return self._mailboxes.pop(instance_id, None) or Mailbox()

    def delete(self, instance_id: str | None, *, before: Instant | None, limit: int) -> int:
        """Delete up to `limit` events, the first of an id first; returns how many."""
        ids = tuple(self._arrivals) if instance_id is None else (instance_id,)
        deleted = 0
        for each in ids:
            arrivals = self._arrivals.get(each, {})
            old = (name for name, at in arrivals.items() if before is None or at < before)
            names = tuple(islice(old, limit - deleted))
            if not names:
                continue
            deleted += len(names)
            self._mailboxes[each].discard(names)
            for name in names:
                del arrivals[name]
            if not arrivals:
                self.take(each)
        return deleted

    def clear(self) -> None:
        """Delete all events."""
        self._mailboxes.clear()
        self._arrivals.clear()
