"""The writing calls of the contract, each as changes in a document, and what their answers mean.

Every write says which instances it must not share with another write of its group (`alone`), and
whose mailboxes it may share (`shared`). A group without conflicts does what its writes would do one
after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

from perdure.clock import to_microseconds
from perdure.contract import (
    ActivityCompletion,
    CommitAnswer,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    Message,
    NewInstance,
    TurnCommit,
)
from perdure.errors import (
    ActivityLeaseLost,
    HistoryConflict,
    InstanceAlreadyExists,
    InstanceNotFound,
    LeaseLost,
)

from perdure_postgres._errors import DamagedRecord
from perdure_postgres._rows import state_of
from perdure_postgres._texts import stored, told
from perdure_postgres._waits import Waiter
from perdure_postgres._writes.document import Document

Result = TypeVar("Result", covariant=True)


class Change(ABC, Generic[Result]):
    """One writing call."""

    operation: str
    alone: frozenset[Hashable] = frozenset()
    shared: frozenset[Hashable] = frozenset()

    @abstractmethod
    def add_to(self, document: Document) -> None:
        """Add what it changes to the document of its group."""

    @abstractmethod
    def answer(self, fields: dict[str, Any], messages: Sequence[Message], more: bool) -> Result:
        """The result of the call, or the error that refuses it."""

    def instances(self) -> frozenset[str]:
        """Those whose rows it locks."""
        return frozenset(each for each in self.alone | self.shared if isinstance(each, str))

    makes_turns: bool = True
    """Whether an instance may have become ready."""
    makes_activities: bool = False
    """Whether an activity may have become ready."""
    changed: frozenset[str] = frozenset()
    """The instances with another last commit, or that were created."""
    turning: frozenset[str] = frozenset()
    """Those of them that were created or have ended."""


class Creation(Change[None]):
    """`create_instance`."""

    operation = "create_instance"

    def __init__(self, new: NewInstance) -> None:
        self._new = new
        self.alone = frozenset({new.instance, new.start.instance})
        self.changed = self.turning = frozenset({new.instance})

    def add_to(self, document: Document) -> None:
        document.begin("create", self._new.instance)
        document.create(self._new)

    def answer(self, fields: dict[str, Any], messages: Sequence[Message], more: bool) -> None:
        if fields["in_use"]:
            raise InstanceAlreadyExists(self._new.instance)


class Sending(Change[None]):
    """`send`, or a part of it."""

    operation = "send"

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self.shared = frozenset(message.instance for message in messages)

    def add_to(self, document: Document) -> None:
        document.begin("send")
        for message in self._messages:
            document.send(message)

    def answer(self, fields: dict[str, Any], messages: Sequence[Message], more: bool) -> None:
        return None


class Completion(Change[None]):
    """`complete_activity`."""

    operation = "complete_activity"

    def __init__(self, completion: ActivityCompletion) -> None:
        self._completion = completion
        lease = completion.lease
        self.alone = frozenset({(lease.instance, lease.activity)})
        self.shared = frozenset({lease.instance, completion.message.instance})

    def add_to(self, document: Document) -> None:
        lease = self._completion.lease
        document.begin(
            "complete",
            lease.instance,
            finish=[[stored(lease.activity), stored(lease.token)]],
        )
        document.add("finish", instance=stored(lease.instance), id=stored(lease.activity))
        document.add("drop", id=stored(lease.activity))
        document.send(self._completion.message)

    def answer(self, fields: dict[str, Any], messages: Sequence[Message], more: bool) -> None:
        if fields["verdict"] != "ok":
            lease = self._completion.lease
            raise ActivityLeaseLost(lease.instance, [lease.activity], operation=self.operation)


class Commit(Change[CommitAnswer]):
    """`commit_turn`."""

    operation = "commit_turn"

    def __init__(self, commit: TurnCommit) -> None:
        self.commit = commit
        self.waiters: Collection[Waiter] = ()
        """Those whom the end of the instance is told with its state."""
        self.history: bytes | None = None
        """All events of the execution that it ends, if they are packed."""
        self.instance = commit.instance
        self.incarnation = commit.incarnation
        created = (
            name
            for child in commit.create
            for name in (child.instance.instance, child.instance.start.instance)
        )
        self.alone = frozenset({commit.instance, *created})
        told_of = [*commit.send, *commit.front]
        told_of += [child.if_exists for child in commit.create if child.if_exists is not None]
        self.shared = frozenset(message.instance for message in told_of) - self.alone
        children = frozenset(child.instance.instance for child in commit.create)
        own = frozenset({commit.instance})
        self.changed = own | children
        self.turning = children if commit.end is None else self.changed
        ends = commit.end is not None and commit.end.status is not InstanceStatus.CONTINUED_AS_NEW
        self.ends = ends
        # A released instance may have messages left.
        self.makes_turns = bool(told_of or children) or (commit.keep_for is None and not ends)
        self.makes_activities = any(not new.lease for new in commit.add)

    def add_to(self, document: Document) -> None:
        commit, now = self.commit, document.now
        keep = None if commit.keep_for is None else now + to_microseconds(commit.keep_for)
        until = (
            None
            if commit.activity_lease_for is None
            else now + to_microseconds(commit.activity_lease_for)
        )
        cancelled = frozenset(commit.cancel)
        added = [new for new in commit.add if new.id not in cancelled]
        end = commit.end
        document.begin(
            "commit",
            commit.instance,
            incarnation=stored(commit.incarnation),
            id=stored(commit.id),
            token=stored(commit.token),
            execution=commit.execution,
            expected=commit.expected_event,
            events=len(commit.events) or None,
            finish=[[stored(each.activity), stored(each.token)] for each in commit.finish] or None,
            keep=keep,
            held=[stored(each) for each in commit.held] or None,
            ending=None if end is None else end.status.value,
            output=None if end is None else document.payload(end.output),
            history=document.payload(self.history),
            version=stored(commit.version),
            unpin=commit.unpin or None,
            engine=commit.engine,
            leased_until=until if any(new.lease for new in added) else None,
            told=None if commit.custom_status is None else 1,
            changes=len(commit.values) or None,
            creates=[stored(child.instance.instance) for child in commit.create] or None,
            tells=True if self.waiters else None,
        )
        if self.waiters:
            document.mark("tells")
        document.mark("turns")
        if keep is not None:
            document.mark("keeps")
        if commit.version is not None or commit.engine is not None:
            document.mark("pins")
        if self.history is None:
            document.append(commit.events)
        elif commit.expected_event:
            document.add("packed")
        for message_id in commit.remove:
            document.add("remove", id=stored(message_id))
        for lease in commit.finish:
            document.add("finish", instance=stored(commit.instance), id=stored(lease.activity))
            document.add("drop", id=stored(lease.activity))
        for activity_id in commit.cancel:
            document.add("drop", id=stored(activity_id))
        for new in added:
            document.add(
                "add",
                o=document.next_place(),
                id=stored(new.id),
                name=stored(new.name),
                tag=stored(new.tag),
                visible_at=new.visible_at,
                token=stored(commit.activity_token) if new.lease else None,
                until=until if new.lease else None,
                d=document.payload(new.data),
            )
        for key, value in commit.values.items():
            document.add("values", key=stored(key), d=document.payload(value))
        if commit.custom_status is not None:
            document.add("statuses", d=document.payload(commit.custom_status))
        for child in commit.create:
            document.create(child.instance)
            if child.if_exists is not None:
                document.send(child.if_exists, refused=child.instance)
        # Of messages with one id, the last that is put to the front stands; one that is void stands for
        # nothing, and takes no other's place.
        execution = commit.execution + (commit.end is not None and not self.ends)
        front = {
            message.id: message
            for message in commit.front
            if message.incarnation in (None, commit.incarnation)
            and message.execution in (None, execution)
        }
        for message in commit.send:
            if message.instance != commit.instance or message.id not in front:
                document.send(message)
        for message in commit.front:
            if front.get(message.id) is message:
                document.send(message, front=True)

    def tell(self, fields: dict[str, Any], custom_status: bytes | None) -> None:
        """Hand the state that the commit has left to those who wait for it."""
        end = self.commit.end
        # What cannot be told here, a read says with its error.
        with suppress(DamagedRecord):
            state = state_of(fields, custom_status, None if end is None else end.output)
            for waiter in self.waiters:
                waiter.state = state

    def answer(
        self, fields: dict[str, Any], messages: Sequence[Message], more: bool
    ) -> CommitAnswer:
        commit = self.commit
        match fields["verdict"]:
            case "ok" | "repeat":
                until = fields["until"]
                kept = until is not None
                return CommitAnswer(
                    lease_until=until,
                    activities_until=fields["activities_until"],
                    in_use=frozenset(map(told, cast("list[str]", fields["in_use"] or []))),
                    messages=tuple(messages) if kept else (),
                    more=more and kept,
                )
            case "history":
                raise HistoryConflict(
                    commit.instance,
                    expected=(commit.execution, commit.expected_event),
                    found=(fields["execution"], fields["event"]),
                )
            case "activities":
                lost = list(map(told, cast("list[str]", fields["lost"])))
                raise ActivityLeaseLost(commit.instance, lost, operation=self.operation)
            case "spoiled":
                raise DamagedRecord(commit.instance, "its status is unknown")
            case _:
                raise LeaseLost(commit.instance, operation=self.operation)


class Reopening(Change[None]):
    """`reopen_instance`."""

    operation = "reopen_instance"

    def __init__(self, reopening: InstanceReopening) -> None:
        self._reopening = reopening
        self.alone = self.changed = self.turning = frozenset({reopening.instance})

    def add_to(self, document: Document) -> None:
        reopening = self._reopening
        document.begin(
            "reopen",
            reopening.instance,
            incarnation=stored(reopening.incarnation),
            id=stored(reopening.id),
            execution=reopening.execution,
            version=stored(reopening.version),
            unpin=reopening.unpin or None,
            engine=reopening.engine,
        )
        document.mark("turns")
        document.mark("pins")
        document.send(reopening.start, front=True)

    def answer(self, fields: dict[str, Any], messages: Sequence[Message], more: bool) -> None:
        reopening = self._reopening
        match fields["verdict"]:
            case "missing":
                raise InstanceNotFound(reopening.instance)
            case "history":
                raise HistoryConflict(
                    reopening.instance,
                    expected=(reopening.execution, fields["event"]),
                    found=(fields["execution"], fields["event"]),
                    operation=self.operation,
                )
            case "spoiled":
                raise DamagedRecord(reopening.instance, "its status is unknown")
            case _:
                return


class Termination(Change[bool]):
    """`terminate_instance`."""

    operation = "terminate_instance"

    def __init__(self, termination: InstanceTermination) -> None:
        self._termination = termination
        self.alone = self.changed = self.turning = frozenset({termination.instance})
        self.shared = frozenset(each.instance for each in termination.send) - self.alone

    def add_to(self, document: Document) -> None:
        termination = self._termination
        document.begin(
            "terminate",
            termination.instance,
            incarnation=stored(termination.incarnation),
            id=stored(termination.id),
            events=len(termination.events) or None,
            ending=InstanceStatus.FAILED.value,
            output=document.payload(termination.output),
        )
        document.mark("turns")
        document.append(termination.events)
        for message in termination.send:
            document.send(message)

    def answer(self, fields: dict[str, Any], messages: Sequence[Message], more: bool) -> bool:
        match fields["verdict"]:
            case "missing":
                raise InstanceNotFound(self._termination.instance)
            case "spoiled":
                raise DamagedRecord(self._termination.instance, "its status is unknown")
            case "ended":
                return False
            case _:
                return True
