"""What an execution knows of the world around it, besides its history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from perdure.errors import CapabilityMissing
from perdure.model.record import record


@record
class Surroundings:
    """The plain fields of the instance that no history has, and what its provider can do."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    inherited: Mapping[str, str] = field(default_factory=dict[str, str])
    """The values of the instance as the execution begins, as JSON texts."""
    capabilities: frozenset[str] | None = None
    """The capabilities of contract 1.1 that the provider has; None: all."""
    park_on: tuple[type[BaseException], ...] = ()
    """Uncaught errors that park the instance instead of ending it; those of the definition count too."""
    provider: str = ""
    """The description of the provider, for messages."""

    def require(self, capability: str, what: str) -> None:
        """Raise `CapabilityMissing` unless the provider has the capability; `what` needs it."""
        if self.capabilities is not None and capability not in self.capabilities:
            raise CapabilityMissing(capability, self.provider, what=what)


ALONE: Final = Surroundings()
"""No labels and no values, on a provider that can do everything."""
