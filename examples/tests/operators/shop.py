"""The order process on a stage: its file stays when a stage ends, as storage does."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import perdure
from perdure.testing import Stage

ORDER = Path(__file__).parents[2] / "order"
sys.path.insert(0, str(ORDER))
try:
    import director
    import operating
    import orders
    from outside import UNDOES, Outside
    from screen import Screen
finally:
    sys.path.remove(str(ORDER))

__all__ = ["Outside", "director", "operating", "orders"]

ACTIVITIES = (
    orders.reserve,
    orders.charge,
    orders.refund,
    orders.release,
    orders.book_courier,
    orders.call_back,
)


class Silent(Screen):
    def say(self, *words: str) -> None: ...


class Shop:
    """One folder with the storage of the orders and the ledger of the world outside."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "orders.db"
        self.outside = Outside(folder / "outside.db")
        self._now: datetime | None = None

    def open(self, registry: perdure.Registry = orders.app, **settings: Any) -> Stage:
        """A worker with this code; `settings` are those of a stage."""
        # Each opening is a day later, so that no lease and no delay of the last one stands.
        self._now = (self._now or datetime.fromisoformat("2026-01-01T00:00+00:00")) + timedelta(1)
        return Stage(
            registry,
            resources=self.around(),
            url=f"sqlite:///{self.file}",
            start=self._now,
            **settings,
        )

    def around(self) -> orders.Surroundings:
        """What the activities find."""
        return orders.Surroundings(
            outside=self.outside, screen=Silent("test"), answer_seconds=0.001
        )

    def left(self) -> Counter[str]:
        """What is booked and not undone."""
        booked: Counter[str] = Counter()
        for request in self.outside.requests("o-1"):
            if request.booked:
                action = UNDOES.get(request.action)
                booked[f"{action or request.action} {request.item}".strip()] += -1 if action else 1
        return +booked


def order(**changes: object) -> orders.Order:
    items = [orders.Item(name=name, cents=100) for name in ("lamp", "desk")]
    return orders.Order(number="o-1", items=items, town="Lisbon", packing_seconds=0.1).model_copy(
        update=changes
    )


SHIPPED = Counter(["reserve lamp", "reserve desk", "charge", "courier Lisbon"])


def edition(
    process: Callable[..., Any], *, without: Callable[..., Any] | None = None, **replaced: Any
) -> perdure.Registry:
    """The code of the shop with another `process_order`, or other activities."""
    registry = perdure.Registry()
    registry.orchestration(name="process_order")(process)
    registry.orchestration(orders.ship)
    for activity in ACTIVITIES:
        if activity is not without:
            registry.activity(name=activity.__name__)(replaced.get(activity.__name__, activity))
    return registry
