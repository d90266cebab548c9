"""Testing durable programs: stored histories are replayed against the code of today.

- `replay_check`: replays histories without running anything
- `replay_report`: what a check found
- `history_sources`: folders, clients and URLs as sources of histories

Applications never import this package outside their tests.
"""

from perdure.replay.code_locations import WaitingTask
from perdure.replay.comparing import ValueDifference
from perdure.testing.replay_check import check_histories, check_history
from perdure.testing.replay_report import CheckedExecution, Disagreement, ReplayReport, Verdict

__all__ = [
    "CheckedExecution",
    "Disagreement",
    "ReplayReport",
    "ValueDifference",
    "Verdict",
    "WaitingTask",
    "check_histories",
    "check_history",
]
