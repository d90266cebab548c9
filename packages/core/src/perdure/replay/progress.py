"""The custom status and the values of one execution: set with the turn, read alike in every replay.

A value that this execution has set is known from its own history. An inherited one comes from the
store; the first read records it, so that a replay needs no store. The first change of an inherited
value records what it was, so that a rewind can restore it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from perdure import history
from perdure.model.values import MOST_VALUES, too_many_values
from perdure.records.limits import ENGINE_WITH_RECOVERY, VALUES
from perdure.replay.surroundings import Surroundings
from perdure.replay.transcript import Transcript
from perdure.replay.turn import TurnDraft


class Progress:
    """See the module. All texts are JSON."""

    __slots__ = (
        "_draft",
        "_inherited",
        "_is_listed",
        "_known",
        "_own",
        "_surroundings",
        "_transcript",
    )

    def __init__(
        self, transcript: Transcript, surroundings: Surroundings, draft: Callable[[], TurnDraft]
    ) -> None:
        self._transcript = transcript
        self._surroundings = surroundings
        self._draft = draft
        self._inherited: Mapping[str, str] = surroundings.inherited
        """The values of the store; what this execution has changed itself counts above them."""
        self._own: dict[str, str | None] = {}
        """What this execution has set, or with None deleted."""
        self._known: dict[str, str | None] = {}
        """The inherited values that the history has, because they were read."""
        self._is_listed = False
        """Whether the history has all inherited values."""

    @property
    def own_count(self) -> int:
        """How many values of the instance this execution has set itself."""
        return sum(text is not None for text in self._own.values())

    @property
    def current(self) -> dict[str, str]:
        """All values of the instance, as this execution leaves them."""
        merged = {**self._inherited, **self._own}
        return {key: text for key, text in merged.items() if text is not None}

    def inherit(self, values: Mapping[str, str]) -> None:
        """Have the values of the store, of which a rebuilt execution knows only its own."""
        self._inherited = values

    def set_status(self, text: str) -> None:
        """Set the custom status of the instance with this turn."""
        transcript = self._transcript
        self._require("a custom status")
        recorded = transcript.ask(history.StatusSet, value=text).value
        if transcript.effective:
            draft = self._draft()
            draft.custom_status = recorded.encode()
            self._need_engine()

    def change(self, key: str, text: str | None) -> None:
        """Set a value of the instance with this turn, or with None delete it."""
        transcript = self._transcript
        self._require("values")
        if transcript.replaying:
            recorded = transcript.ask(history.ValueSet, key=key, value=text)
        else:
            recorded = self._record_change(key, text)
        if recorded.refused:
            self._need_engine()
            raise too_many_values(key)
        self._own[key] = recorded.value
        if transcript.effective:
            draft = self._draft()
            draft.values[key] = None if recorded.value is None else recorded.value.encode()
            self._need_engine()

    def _record_change(self, key: str, text: str | None) -> history.ValueSet:
        present = self.current
        if text is not None and key not in present and len(present) >= MOST_VALUES:
            # Recorded, because a replay does not know how many values there were.
            return self._transcript.ask(history.ValueSet, key=key, refused=True)
        previous = None if key in self._own else self._inherited.get(key)
        return self._transcript.ask(history.ValueSet, key=key, value=text, previous=previous)

    def read(self, key: str) -> str | None:
        """A value of the instance; None if there is none."""
        self._require("values")
        if key in self._own:
            return self._own[key]
        if key not in self._known and not self._is_listed:
            self._known[key] = self._read_inherited(key)
        return self._known.get(key)

    def read_all(self) -> dict[str, str]:
        """All values of the instance, by rising key."""
        self._require("values")
        if not self._is_listed:
            for key in self._list():
                self._known[key] = self._read_inherited(key)
            self._is_listed = True
        merged = {**self._known, **self._own}
        return {key: text for key, text in sorted(merged.items()) if text is not None}

    def _list(self) -> tuple[str, ...]:
        """Record which inherited values the history has not; in replay, the recorded ones count."""
        transcript = self._transcript
        if transcript.replaying:
            return transcript.ask(history.ValuesListed).keys
        known = self._own.keys() | self._known.keys()
        keys = tuple(sorted(self._inherited.keys() - known))
        self._need_engine()
        return transcript.ask(history.ValuesListed, keys=keys).keys

    def _read_inherited(self, key: str) -> str | None:
        transcript = self._transcript
        if transcript.replaying:
            return transcript.ask(history.ValueRead, key=key).value
        self._need_engine()
        return transcript.ask(history.ValueRead, key=key, value=self._inherited.get(key)).value

    def _need_engine(self) -> None:
        if self._transcript.effective:
            self._draft().engine = ENGINE_WITH_RECOVERY

    def _require(self, what: str) -> None:
        self._surroundings.require(VALUES, what)
