"""The bars of a history, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from perdure import history
from perdure_console.web.timeline import timeline_of

SECOND = 1_000_000


def test_a_bar_says_which_attempt_and_which_delivery_of_it_ended() -> None:
    events = [
        history.OrchestrationStarted(
            event_id=1,
            at=0,
            instance="order-1",
            incarnation="a",
            execution=1,
            name="pay",
            version="1.0.0",
            input="null",
            python="3.12",
            engine=1,
        ),
        history.ActivityScheduled(event_id=2, at=0, name="charge", input="null"),
        history.ActivityCompleted(event_id=3, at=2 * SECOND, scheduled=2, result="1"),
        history.ActivityScheduled(event_id=4, at=2 * SECOND, name="pack", input="1", attempt=2),
        history.ActivityCompleted(event_id=5, at=5 * SECOND, scheduled=4, result="2", delivery=3),
    ]

    drawn = timeline_of(events, datetime.fromtimestamp(5, UTC))

    assert drawn is not None
    assert [bar.text for row in drawn.rows for bar in row.bars] == [
        "charge, 2.0s, done",
        "pack, attempt 2: delivery 3, 3.0s, done",
    ]
