"""Lives: which of the instances that ever had an id something belongs to.

A partition holds all instances that ever have its id, one after the other, since what a deletion
leaves behind is removed later. So whatever an instance owns says whose it is. The keys of histories,
values and large payloads have a tag, which no other creation has: a late repeat of a creation may
create an incarnation again that was deleted. A message is stamped with the life that its sender saw,
and an activity with the life that added it: an instance that was reopened after its end has another
life than before. What is of another life is void, whenever it comes.

Instances of version 0.1.0 have no tag, and their messages and activities no stamp. External events
that wait for an id have no stamp either; the instance that comes gets them, and they are removed
before it is deleted or reopened.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from perdure.errors import StorageCorrupt

from perdure_dynamodb._values import Plain

LIFE = "lif"
"""The attribute of lock items, messages, activities and parked marks."""

_BYTES = 9


@dataclass(frozen=True, slots=True)
class Life:
    """A life of an instance: from its creation, or a reopening after its end, to its next end."""

    tag: str
    """Of the creation; empty for one by version 0.1.0."""
    number: int = 0

    @classmethod
    def of_new(cls) -> Life:
        """The first life of an instance that is about to be created; no other one is the same."""
        return cls(f"i{secrets.token_urlsafe(_BYTES)}")

    @classmethod
    def of(cls, item: Mapping[str, Plain]) -> Life:
        """The life that a lock item tells, or a message or an activity that has a stamp."""
        return cls.parse(str(item.get(LIFE, "-.0")))

    @classmethod
    def parse(cls, text: str) -> Life:
        """The life of a text."""
        tag, _, number = text.rpartition(".")
        if not tag or not number.isdecimal():
            raise StorageCorrupt(
                f"{text!r} is no life of an instance; it was damaged or written by something else"
                " than Perdure",
                operation="read",
            )
        return cls("" if tag == "-" else tag, int(number))

    @property
    def text(self) -> str:
        """As it stands in an item."""
        return f"{self.prefix}.{self.number}"

    @property
    def prefix(self) -> str:
        """With what the texts of all lives of one creation begin, up to a point."""
        return self.tag or "-"

    @property
    def next(self) -> Life:
        """The life that a reopening begins."""
        return Life(self.tag, self.number + 1)

    @property
    def condition(self) -> str:
        """The condition that a lock item is of this life, whose text is the value `:life`."""
        if self == LEGACY:
            return f"(attribute_not_exists({LIFE}) OR {LIFE} = :life)"
        return f"{LIFE} = :life"


LEGACY = Life("")
"""Of an instance that version 0.1.0 created, until it is reopened."""
