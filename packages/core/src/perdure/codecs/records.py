"""The payloads of each record of the contract: which fields a codec encodes, and how large they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from perdure.codecs.codec import CodecChain
from perdure.contract.paging import first_page
from perdure.records.activities import ActivityCompletion, LeasedActivity, NewActivity
from perdure.records.instances import InstanceState, Message, MessageKind, NewInstance
from perdure.records.limits import MAX_BYTES_PER_DELIVERY
from perdure.records.listing import InstancePage, InstanceWork
from perdure.records.queries import ExecutionState, InstanceValues
from perdure.records.recovery import InstanceReopening, InstanceTermination
from perdure.records.turns import (
    CommitAnswer,
    ExecutionEnd,
    HistoryPage,
    LeasedTurn,
    NewChild,
    TurnCommit,
)


class RecordEncoder:
    """Encodes the payloads of the records that go to the storage."""

    def __init__(self, codecs: CodecChain) -> None:
        self._encode = codecs.encode

    def message(self, message: Message) -> Message:
        return replace(message, data=self._encode(message.data))

    def completion(self, completion: ActivityCompletion) -> ActivityCompletion:
        return ActivityCompletion(lease=completion.lease, message=self.message(completion.message))

    def messages(self, messages: Iterable[Message]) -> tuple[Message, ...]:
        return tuple(map(self.message, messages))

    def new_instance(self, new: NewInstance) -> NewInstance:
        return replace(new, start=self.message(new.start))

    def commit(self, commit: TurnCommit) -> TurnCommit:
        return replace(
            commit,
            events=tuple(map(self._encode, commit.events)),
            add=tuple(map(self._activity, commit.add)),
            send=self.messages(commit.send),
            front=self.messages(commit.front),
            create=tuple(map(self._child, commit.create)),
            end=None if commit.end is None else self._end(commit.end),
            custom_status=self._optional(commit.custom_status),
            values={key: self._optional(value) for key, value in commit.values.items()},
        )

    def reopening(self, reopening: InstanceReopening) -> InstanceReopening:
        return replace(reopening, start=self.message(reopening.start))

    def termination(self, termination: InstanceTermination) -> InstanceTermination:
        return replace(
            termination,
            events=tuple(map(self._encode, termination.events)),
            output=self._encode(termination.output),
            send=self.messages(termination.send),
        )

    def _activity(self, activity: NewActivity) -> NewActivity:
        return replace(activity, data=self._encode(activity.data))

    def _child(self, child: NewChild) -> NewChild:
        if_exists = None if child.if_exists is None else self.message(child.if_exists)
        return replace(child, instance=self.new_instance(child.instance), if_exists=if_exists)

    def _end(self, end: ExecutionEnd) -> ExecutionEnd:
        return replace(end, output=self._optional(end.output))

    def _optional(self, data: bytes | None) -> bytes | None:
        return None if data is None else self._encode(data)


class RecordDecoder:
    """Decodes the payloads of the records that come from the storage.

    Payloads may be far larger than they are stored, so deliveries and pages of histories are cut
    to the limits of the contract once more; the rest follows as it does from the storage.
    """

    def __init__(self, codecs: CodecChain) -> None:
        self._decode = codecs.decode

    def turn(self, turn: LeasedTurn) -> LeasedTurn:
        messages, cut = self._messages(turn.messages)
        state = self.state(turn.state)
        return replace(turn, state=state, messages=messages, more=turn.more or cut)

    def answer(self, answer: CommitAnswer) -> CommitAnswer:
        if not answer.messages:
            return answer
        messages, cut = self._messages(answer.messages)
        return replace(answer, messages=messages, more=answer.more or cut)

    def activity(self, activity: LeasedActivity) -> LeasedActivity:
        return replace(activity, data=self._decode(activity.data))

    def state(self, state: InstanceState) -> InstanceState:
        if state.output is None and state.custom_status is None:
            return state
        return replace(
            state,
            output=self._optional(state.output),
            custom_status=self._optional(state.custom_status),
        )

    def history(self, page: HistoryPage) -> HistoryPage:
        decoded = (replace(event, data=self._decode(event.data)) for event in page.events)
        events, cut = first_page(decoded, lambda event: len(event.data))
        return HistoryPage(events=tuple(events), more=page.more or cut)

    def values(self, stored: InstanceValues) -> InstanceValues:
        return replace(
            stored, values={key: self._decode(value) for key, value in stored.values.items()}
        )

    def execution(self, state: ExecutionState) -> ExecutionState:
        return replace(state, output=self._optional(state.output))

    def instances(self, page: InstancePage) -> InstancePage:
        return replace(page, instances=tuple(map(self.state, page.instances)))

    def work(self, work: InstanceWork) -> InstanceWork:
        activities = tuple(
            replace(activity, data=self._decode(activity.data)) for activity in work.activities
        )
        return replace(work, activities=activities)

    def _messages(self, messages: Iterable[Message]) -> tuple[tuple[Message, ...], bool]:
        """The messages that fit into a delivery, and whether others were left out.

        A cancellation is never left out, since it is in the next delivery wherever it stands.
        """
        kept: list[Message] = []
        size, cut = 0, False
        for message in messages:
            is_cancellation = message.kind is MessageKind.CANCEL
            if cut and not is_cancellation:
                continue
            decoded = replace(message, data=self._decode(message.data))
            size += len(decoded.data)
            if kept and size > MAX_BYTES_PER_DELIVERY and not is_cancellation:
                cut = True
            else:
                kept.append(decoded)
        return tuple(kept), cut

    def _optional(self, data: bytes | None) -> bytes | None:
        return None if data is None else self._decode(data)


def size_of_commit(commit: TurnCommit) -> int:
    """The bytes of the payloads of a commit, about."""
    size = sum(map(len, commit.events))
    size += sum(len(activity.data) for activity in commit.add)
    size += size_of_messages(commit.send) + size_of_messages(commit.front)
    return size + sum(len(child.instance.start.data) for child in commit.create)


def size_of_messages(messages: Iterable[Message]) -> int:
    """The bytes of the payloads of messages."""
    return sum(len(message.data) for message in messages)
