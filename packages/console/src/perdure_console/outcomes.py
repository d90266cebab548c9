"""What a command on several instances did: for which it did it, and for which not."""

from __future__ import annotations

from dataclasses import dataclass, field

from perdure_console.session import Session


@dataclass(slots=True)
class Outcomes:
    """Grows while the command works."""

    verb: str
    """In the past, such as `deleted`."""
    done: list[str] = field(default_factory=list[str])
    refused: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Ids, each with the reason."""

    def report(self, session: Session) -> int:
        """Print all of it, and return the exit code: 1 if something was refused."""
        if session.as_json:
            refused = [{"instance": name, "reason": reason} for name, reason in self.refused]
            session.print_json({self.verb.replace(" ", "_"): self.done, "refused": refused})
        else:
            for instance in self.done:
                session.say(f"{self.verb} {instance}")
            if not self.done and not self.refused:
                session.note("no instance matches")
        for instance, reason in self.refused:
            session.warn(f"{instance}: {reason}")
        return 1 if self.refused else 0
