"""An instance under a lease of this runtime: who it is, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from perdure.clock import Instant
from perdure.records.instances import InstanceState
from perdure.records.turns import LeasedTurn, TurnCommit, TurnLease


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class HeldInstance:
    """An instance under a lease of this runtime, and where it stands after its last commit."""

    state: InstanceState
    """As it was leased; the fields below say what was committed since."""
    token: str
    until: Instant
    """The end of the lease."""
    execution: int
    last_event: int
    last_commit: str | None
    version: str | None
    inherited: Mapping[str, str] = field(default_factory=dict[str, str])
    """The values of the instance as the execution begins, as JSON texts; set before its first turn."""

    @classmethod
    def of(cls, leased: LeasedTurn) -> HeldInstance:
        """As a lease call returned it."""
        state = leased.state
        return cls(
            state=state,
            token=leased.token,
            until=leased.until,
            execution=state.execution,
            last_event=state.last_event,
            last_commit=state.last_commit,
            version=state.version,
        )

    @property
    def instance(self) -> str:
        """Its id."""
        return self.state.instance

    @property
    def lease(self) -> TurnLease:
        """The lease by name."""
        return TurnLease(instance=self.state.instance, token=self.token)

    @property
    def state_now(self) -> InstanceState:
        """Its plain fields after its last commit, as far as a history or a commit needs them."""
        return replace(
            self.state,
            execution=self.execution,
            last_event=self.last_event,
            last_commit=self.last_commit,
            version=self.version,
        )

    def committed(self, commit: TurnCommit, until: Instant | None) -> None:
        """Note what a confirmed commit has changed."""
        self.last_event += len(commit.events)
        self.last_commit = commit.id
        self.version = commit.version or self.version
        if until is not None:
            self.until = until

    def next_execution(self, version: str | None, values: Mapping[str, str]) -> None:
        """The commit has ended the execution, and the next one begins with these values."""
        self.inherited = values
        self.execution += 1
        self.last_event = 0
        self.version = version
