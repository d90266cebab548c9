"""Where the demonstration plays: its directory, its storage, its orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orders import Item, Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all processes of one demonstration agree on."""

    directory: Path
    url: str
    prefix: str = "order-"
    """Of the instance ids; another one for another demonstration on the same storage."""
    pace: float = 1.0
    """How long things take; more than 1 gives you time to watch, or to kill by hand."""

    @property
    def ledger(self) -> Path:
        """The file of the world outside."""
        return self.directory / "outside.db"

    @property
    def answer_seconds(self) -> float:
        """How long the bank's answer is under way."""
        return 0.6 * self.pace

    def orders(self) -> Sequence[Order]:
        """One that goes well, and one that no courier takes."""
        lamp, desk, chair = (
            Item(name="lamp", cents=4_900),
            Item(name="desk", cents=21_900),
            Item(name="chair", cents=9_900),
        )
        return [
            Order(
                number=f"{self.prefix}{number}",
                items=items,
                town=town,
                packing_seconds=1.5 * self.pace,
            )
            for number, items, town in (
                (1, [lamp, desk, chair], "Lisbon"),
                (2, [lamp], "Atlantis"),
            )
        ]

    def arguments(self) -> list[str]:
        """What makes the same stage on a command line."""
        return [
            f"--directory={self.directory}",
            f"--url={self.url}",
            f"--prefix={self.prefix}",
            f"--pace={self.pace}",
        ]
