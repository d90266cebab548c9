"""What the turns of a runtime share: the services that a leased instance is given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from perdure.contract.hooks import TurnWrapper
from perdure.contract.provider import Provider
from perdure.records.turns import TurnCommit
from perdure.runtime.activity_worker import ActivityWorker
from perdure.runtime.bytes_in_flight import Share
from perdure.runtime.clock_skew import ClockSkew
from perdure.runtime.executions import Executions
from perdure.runtime.observers import Observers
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.parking import ParkedInstances
from perdure.runtime.payload_budget import PayloadBudget
from perdure.runtime.unique_ids import unique_ids


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class TurnServices:
    """See the module. One for all turns of a runtime."""

    provider: Provider
    options: RuntimeOptions
    observers: Observers
    executions: Executions
    activities: ActivityWorker
    parked: ParkedInstances
    skew: ClockSkew
    idle: asyncio.Event
    """To be set when an instance keeps its lease without work in hand."""
    in_flight: Share
    """What the turns of the runtime hold."""
    payload_budget: PayloadBudget
    """What the turns may deliver that are being made."""
    wrappers: Sequence[TurnWrapper] = ()
    """Those of turns, the outermost one first."""
    commit_ids: Iterator[str] = field(default_factory=unique_ids)
    turns_committed: int = 0
    is_stopping: bool = False
    """Whether leases are kept no longer than the turn that is under way."""

    def note_commit(self, commit: TurnCommit) -> None:
        """A commit was confirmed: the instance is parked no longer."""
        self.turns_committed += 1
        self.skew.kept += 1
        self.parked.moved(commit.instance)
