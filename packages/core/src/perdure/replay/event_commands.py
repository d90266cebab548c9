"""The part of the commands that concerns external events: waits, polls, and events that it raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure import history
from perdure.diagnostics.failures import ends_the_process
from perdure.errors import InvalidPayload
from perdure.history import EventRaised
from perdure.model.message_ids import event_id_of
from perdure.model.payload import decode
from perdure.records.limits import ENGINE_WITH_RECOVERY
from perdure.replay.futures import ScheduledFuture
from perdure.replay.inbox import EventInbox, Wait
from perdure.replay.outgoing import Outgoing
from perdure.replay.signals import UndecodableData
from perdure.replay.transcript import Transcript
from perdure.replay.turn import TurnDraft, UnfitEvent


class EventCommands:
    """The external events of an execution; `Commands` has the rest."""

    __slots__ = ("inbox", "outgoing", "transcript")

    inbox: EventInbox
    outgoing: Outgoing
    transcript: Transcript

    if TYPE_CHECKING:

        @property
        def draft(self) -> TurnDraft:
            """What the turn brings about so far."""
            ...

    def future_of_wait(self, number: int) -> ScheduledFuture[Any]:
        """The future of a wait for an external event."""
        raise NotImplementedError

    # For the context

    def schedule_wait(
        self, name: str, result_type: object, *, raises: bool = False
    ) -> ScheduledFuture[Any]:
        """Wait for the next external event of this name; with `raises`, data that does not fit raises."""
        number = self.transcript.ask(history.WaitCreated, name=name).event_id
        future = self.future_of_wait(number)
        if not self.transcript.closed:
            self._wait(Wait(number, name, future, result_type, raises))
        return future

    def poll(self, name: str, result_type: object) -> object:
        """Take the oldest kept event of this name that fits; None if there is none.

        Those before it that do not fit are refused, as by a wait. In replay the history decides.
        """
        transcript = self.transcript
        if transcript.replaying:
            polled = transcript.ask(history.EventPolled, name=name)
            taken = self._take_recorded(name, polled)
            return None if taken is None else decode(taken.data, result_type, what=_data_of(taken))
        refused: list[tuple[EventRaised, str]] = []
        value: object = None
        error: BaseException | None = None
        while (taken := self.inbox.take_kept(name)) is not None:
            try:
                value = decode(taken.data, result_type, what=_data_of(taken))
            except InvalidPayload as unfit:
                refused.append((taken, unfit.reason))
                continue
            except BaseException as raised:
                if ends_the_process(raised):
                    raise
                error = raised  # by the code's own types: the event is taken all the same
            break
        self._record_poll(name, taken, refused)
        if error is not None:
            raise error
        return value

    def _record_poll(
        self, name: str, taken: EventRaised | None, refused: list[tuple[EventRaised, str]]
    ) -> None:
        number = None if taken is None else taken.event_id
        polled = self.transcript.ask(history.EventPolled, name=name, event=number)
        if self.transcript.effective:
            self.draft.engine = ENGINE_WITH_RECOVERY
        for event, reason in refused:
            self._refuse(event, polled.event_id, reason)

    def _take_recorded(self, name: str, polled: history.EventPolled) -> EventRaised | None:
        if self.transcript.closed:
            return None
        while (event := self.inbox.take_kept(name)) is not None:
            if event.event_id == polled.event:
                return event
            if not self.transcript.has_refused(event.event_id):
                break
        if polled.event is None and event is None:
            return None
        raise UndecodableData(
            f"event {polled.event_id} of the history, a poll, does not fit the events before it;"
            " restore the history from a copy"
        )

    def send_event(self, instance: str, name: str, text: str) -> None:
        """Raise an external event to an instance with this turn."""
        sent = self.transcript.ask(history.EventSent, instance=instance, name=name, data=text)
        if self.transcript.effective:
            self.draft.sent.append(
                self.outgoing.event(sent.event_id, sent.instance, sent.name, sent.data)
            )
            self.draft.engine = ENGINE_WITH_RECOVERY

    # What is delivered

    def deliver_event(self, event: EventRaised) -> None:
        """Hand the event to the first wait for its name, or keep it."""
        wait = self.inbox.add_event(event)
        if wait is not None and self._hand_over(event, wait):
            self.inbox.remove_wait(wait.number)

    def _wait(self, wait: Wait) -> None:
        while (event := self.inbox.take_kept(wait.name)) is not None:
            if self._hand_over(event, wait):
                return
        self.inbox.add_wait(wait)

    def _hand_over(self, event: EventRaised, wait: Wait) -> bool:
        """Settle the wait with the event; returns False if the wait refuses it and continues.

        In replay the history decides. Without a recorded refusal the event was handed over, as the
        first format of histories did with every event.
        """
        future, what = wait.future, _data_of(event)
        if self.transcript.has_refused(event.event_id):
            return False
        if future.done() or wait.raises or self.transcript.replaying:
            future.settle(event.data, wait.result_type, what)
            return True
        unfit = future.settle_if_fit(event.data, wait.result_type, what)
        if unfit is None:
            return True
        self._refuse(event, wait.number, unfit.reason)
        return False

    def _refuse(self, event: EventRaised, by: int, reason: str) -> None:
        self.transcript.ask(history.EventRefused, event=event.event_id, wait=by, reason=reason)
        event_id = event_id_of(event.message_id)
        self.draft.unfit.append(UnfitEvent(name=event.name, event_id=event_id, reason=reason))


def _data_of(event: EventRaised) -> str:
    return f"data of event {event.name!r}"
