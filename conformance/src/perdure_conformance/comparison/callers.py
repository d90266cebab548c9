"""What the callers know, and the calls that they make of intents.

A caller keeps to the contract: the token of a look for work is its own, and it is asked under again only
until another call names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

from perdure.clock import Instant, ManualClock, to_microseconds
from perdure.contract import (
    DELETION,
    LISTING,
    RECOVERY,
    VALUES,
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CommitAnswer,
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    LeasedActivity,
    LeasedTurn,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    NewInstance,
    ParentLink,
    ParkedMark,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)

from perdure_conformance.comparison import intents
from perdure_conformance.comparison.intents import End, Intent, Mail, Wrong
from perdure_conformance.comparison.requests import (
    ActivityRenewal,
    Answer,
    Deletion,
    EarlyDeletion,
    NamespaceDeletion,
    Pruning,
    Request,
    TurnRenewal,
    asked_token,
    named_tokens,
)

T = TypeVar("T")

SERVES = Serves(orchestrations={"flow": frozenset({"1.0.0"})}, engine=1)
LEASE = timedelta(seconds=30)
LIMIT = 100
WAITED = timedelta(seconds=5)
"""How long unregistered work has waited where a look asks for it."""
IDS = ("a", "b", "c")


@dataclass(slots=True)
class Callers:
    """The callers of the provider, and what they know by all answers so far."""

    clock: ManualClock
    capabilities: frozenset[str] = frozenset()
    """What the provider declares; the callers make no call of another capability."""
    turns: list[LeasedTurn] = field(default_factory=list[LeasedTurn])
    work: list[LeasedActivity] = field(default_factory=list[LeasedActivity])
    commits: list[TurnCommit] = field(default_factory=list[TurnCommit])
    count: int = 0
    created_at: Instant = 0
    """When an instance was last created or reopened."""
    recoveries: list[InstanceReopening | InstanceTermination] = field(
        default_factory=list[InstanceReopening | InstanceTermination]
    )
    generations: Counter[str] = field(default_factory=Counter[str])
    """By id, how many of its instances were deleted: no incarnation is used again."""
    repeatable: dict[type, str] = field(default_factory=dict[type, str])
    """By kind of look, the token of the last one, until another call names it."""

    def learn(self, request: Request, answer: Answer) -> None:
        """Remember an answer."""
        asked, named = asked_token(request), named_tokens(request)
        self.repeatable = {
            kind: each for kind, each in self.repeatable.items() if each not in named
        }
        if asked is not None:
            self.repeatable[type(request)] = asked
        creates = isinstance(request, TurnCommit) and request.create
        if creates or isinstance(request, NewInstance | InstanceReopening):
            self.created_at = self.clock.now()
        if isinstance(request, InstanceReopening | InstanceTermination):
            self.recoveries.insert(0, request)
        if isinstance(request, Deletion) and answer is True:
            self.generations[request.instance] += 1
        if isinstance(request, NamespaceDeletion):
            self.generations.update(IDS)
        if isinstance(answer, frozenset):
            found = sorted(answer, key=repr)
            self.turns[:0] = [each for each in found if isinstance(each, LeasedTurn)]
            self.work[:0] = [each for each in found if isinstance(each, LeasedActivity)]
        if isinstance(request, TurnCommit):
            self.commits.insert(0, request)
            if isinstance(answer, CommitAnswer):
                self._follow(request, answer)

    def _follow(self, commit: TurnCommit, answer: CommitAnswer) -> None:
        """Update the turn as its holder sees it after a commit."""
        for place, turn in enumerate(self.turns):
            if turn.token == commit.token and turn.state.instance == commit.instance:
                again = commit.end is not None
                state = replace(
                    turn.state,
                    execution=commit.execution + again,
                    last_event=0 if again else commit.expected_event + len(commit.events),
                )
                self.turns[place] = replace(turn, state=state, messages=answer.messages)
                return

    def request(self, intent: Intent) -> Request | None:
        """The request that an intent means now, or None if there is nothing that it could be about."""
        match intent:
            case intents.Create():
                return self.new_instance(intent)
            case intents.Send():
                return tuple(self.message(mail) for mail in intent.mail)
            case intents.LeaseTurns():
                return TurnRequest(
                    token=self._token(TurnRequest, again=intent.again),
                    limit=LIMIT,
                    lease_for=LEASE,
                    serves=SERVES,
                    unregistered_for=WAITED
                    if intent.unregistered and self._all_are_old()
                    else None,
                )
            case intents.LeaseWork():
                return ActivityRequest(
                    token=self._token(ActivityRequest, again=intent.again),
                    limit=LIMIT,
                    lease_for=LEASE,
                    names=frozenset({"work"}),
                    tags=frozenset({"gpu"} if intent.tagged else {None}),
                    unregistered_for=WAITED if intent.unregistered else None,
                )
            case intents.RepeatCommit():
                return pick(self.commits, intent.commit)
            case intents.RenewTurns():
                leases = dict.fromkeys(
                    TurnLease(instance=turn.state.instance, token=turn.token) for turn in self.turns
                )
                seconds = timedelta(seconds=intent.seconds)
                return TurnRenewal(leases=tuple(leases), lease_for=seconds) if leases else None
            case intents.RenewWork():
                seconds = timedelta(seconds=intent.seconds)
                found = dict.fromkeys(each.lease for each in self.work)
                return ActivityRenewal(leases=tuple(found), lease_for=seconds) if found else None
            case intents.ReleaseTurn() | intents.Commit():
                return self._of_turn(intent)
            case intents.CompleteWork() | intents.ReleaseWork():
                return self._of_work(intent)
            case intents.Reopen() | intents.Terminate() | intents.RepeatRecovery():
                return self._recovery(intent) if RECOVERY in self.capabilities else None
            case _:
                return self._deletion(intent) if DELETION in self.capabilities else None

    def _recovery(
        self, intent: intents.Reopen | intents.Terminate | intents.RepeatRecovery
    ) -> Request | None:
        if isinstance(intent, intents.RepeatRecovery):
            return pick(self.recoveries, intent.number)
        turn = pick(self.turns, intent.turn)
        if turn is None:
            return None
        state = turn.state
        if isinstance(intent, intents.Terminate):
            sent = (self.message(mail, execution=state.execution) for mail in intent.send)
            return InstanceTermination(
                id=self.fresh("termination"),
                instance=state.instance,
                incarnation=state.incarnation,
                events=(b"terminated",),
                output=b"why",
                send=tuple(each for each in sent if each.instance != state.instance),
            )
        execution = max(1, state.execution - intent.back)
        start = restart(replace(turn, state=replace(state, execution=execution)))
        return InstanceReopening(
            id=self.fresh("reopening"),
            instance=state.instance,
            incarnation=state.incarnation,
            execution=execution,
            start=start,
            version={1: "1.0.0", 2: "9.0.0"}.get(intent.version),
            unpin=intent.version == 3,
        )

    def _deletion(
        self, intent: intents.Delete | intents.Prune | intents.DeleteEarly | intents.DeleteAll
    ) -> Request | None:
        match intent:
            case intents.Delete() | intents.Prune():
                turn = pick(self.turns, intent.turn)
                if turn is None:
                    return None
                state = turn.state
                incarnation = "stranger" if intent.stranger else state.incarnation
                if isinstance(intent, intents.Delete):
                    return Deletion(instance=state.instance, incarnation=incarnation)
                return Pruning(
                    instance=state.instance, incarnation=incarnation, before=intent.before
                )
            case intents.DeleteEarly():
                number = intent.instance
                return EarlyDeletion(
                    instance=None if number is None else IDS[number % len(IDS)],
                    arrived_before=self.after(-1) if intent.old else None,
                )
            case intents.DeleteAll():
                return NamespaceDeletion() if intent.chance == 9 else None

    def incarnation_of(self, instance: str, number: int = 0) -> str:
        """The name of one of the two incarnations of an id that callers use now."""
        return f"{instance}@{2 * self.generations[instance] + number}"

    def new_instance(self, intent: intents.Create) -> NewInstance:
        """A new instance."""
        instance = IDS[intent.instance % len(IDS)]
        incarnation = self.incarnation_of(instance, intent.incarnation)
        replaces = intent.replaces and intent.incarnation == 1 and DELETION in self.capabilities
        labelled = intent.labelled and LISTING in self.capabilities
        return NewInstance(
            instance=instance,
            incarnation=incarnation,
            name="flow",
            version="9.0.0" if intent.pinned else None,
            engine=2 if intent.newer else 1,
            labels={"label": instance} if labelled else {},
            replaces=self.incarnation_of(instance) if replaces else None,
            start=Message(
                id="start",
                instance=instance,
                kind=MessageKind.START,
                data=b"start",
                incarnation=incarnation,
                execution=1,
            ),
        )

    def _of_turn(self, intent: intents.ReleaseTurn | intents.Commit) -> Request | None:
        turn = pick(self.turns, intent.turn)
        if turn is None:
            return None
        if isinstance(intent, intents.Commit):
            return self.commit(intent, turn)
        return TurnRelease(
            lease=TurnLease(instance=turn.state.instance, token=turn.token),
            delay=timedelta(seconds=intent.delay),
            counted=intent.counted,
            parked=ParkedMark(reason="parked", details="turn") if intent.parked else None,
        )

    def _of_work(self, intent: intents.CompleteWork | intents.ReleaseWork) -> Request | None:
        work = pick(self.work, intent.work)
        if work is None:
            return None
        if isinstance(intent, intents.ReleaseWork):
            return ActivityRelease(
                lease=work.lease,
                delay=timedelta(seconds=intent.delay),
                counted=intent.counted,
                parked=ParkedMark(reason="parked", details="work") if intent.parked else None,
            )
        message = Message(
            id=f"result-{work.id}",
            instance=work.instance,
            kind=MessageKind.ACTIVITY,
            data=b"result",
            incarnation=work.incarnation,
            execution=work.execution,
        )
        return ActivityCompletion(lease=work.lease, message=message)

    def _all_are_old(self) -> bool:
        """Whether it makes no difference if an event or its instance is older (LEASE-10)."""
        return self.clock.now() >= self.created_at + to_microseconds(WAITED)

    def _token(self, kind: type[TurnRequest | ActivityRequest], *, again: bool) -> str:
        token = self.repeatable.get(kind) if again else None
        return token or self.fresh("turn" if kind is TurnRequest else "work")

    def fresh(self, what: str) -> str:
        """An id that was not used before."""
        self.count += 1
        return f"{what}-{self.count}"

    def message(self, mail: Mail, *, execution: int = 1, own: str | None = None) -> Message:
        """A message, to the instance that the mail names or to the committer itself."""
        instance = own or IDS[mail.instance % len(IDS)]
        message = Message(
            id=f"m{mail.id}",
            instance=instance,
            kind=MessageKind.EVENT,
            data=b"%d" % mail.id,
            visible_at=self.after(mail.late) if mail.late else None,
        )
        if mail.event:
            return message
        return replace(
            message,
            kind=MessageKind.TIMER if mail.late else MessageKind.CHILD,
            incarnation="stranger" if mail.stranger else self.incarnation_of(instance),
            execution=execution,
        )

    def after(self, seconds: float) -> Instant:
        """The instant this far from now."""
        return self.clock.now() + to_microseconds(timedelta(seconds=seconds))

    def commit(self, intent: intents.Commit, turn: LeasedTurn) -> TurnCommit:
        """A commit of this turn."""
        state = turn.state
        again = intent.end is End.AGAIN
        work = [each for each in self.work if each.instance == state.instance]
        newest = {each.id: each.lease for each in reversed(work)}
        leases = tuple(newest[each] for each in dict.fromkeys(each.id for each in work))
        added = tuple(self._activity(intent, place) for place in range(intent.add))
        known = [each.id for each in work]
        front = tuple(
            replace(self.message(mail, own=state.instance), visible_at=None)
            for mail in intent.front
        )
        commit = TurnCommit(
            id=self.fresh("commit"),
            instance=state.instance,
            incarnation=state.incarnation,
            token=turn.token,
            execution=state.execution,
            expected_event=state.last_event,
            events=tuple(b"%d" % number for number in range(intent.events)),
            remove=tuple(message.id for message in turn.messages[: intent.remove]),
            finish=leases[: intent.finish],
            cancel=(*known[2 : 2 + intent.cancel], *(new.id for new in added[1 : intent.cancel])),
            add=added,
            activity_token=turn.token,
            activity_lease_for=LEASE,
            send=tuple(self._sent(intent, turn)),
            front=(restart(turn), *front) if again else front,
            create=() if intent.child is None else (self._child(intent, turn),),
            end=end_of(intent.end),
            version={1: "1.0.0", 2: "9.0.0"}.get(intent.version),
            unpin=again and intent.version == 3,
            keep_for=LEASE if intent.keep else None,
            held=frozenset(message.id for message in turn.messages[: intent.held]),
        )
        if VALUES in self.capabilities:
            commit = replace(
                commit,
                custom_status=b"%d" % intent.status if intent.status else None,
                values={
                    f"k{key}": b"%d" % value if value else None for key, value in intent.values
                },
            )
        return spoil(commit, intent.wrong)

    def _sent(self, intent: intents.Commit, turn: LeasedTurn) -> Iterator[Message]:
        """The messages that the commit sends.

        None goes to the own mailbox where the contract leaves its order among `if_exists` free
        (COMMIT-17), or whether a void one holds its id (COMMIT-14).
        """
        is_free = intent.child is not None or intent.end is not End.NOT
        for mail in intent.send:
            message = self.message(mail, execution=turn.state.execution)
            if not is_free or message.instance != turn.state.instance:
                yield message

    def _activity(self, intent: intents.Commit, place: int) -> NewActivity:
        return NewActivity(
            id=self.fresh("work"),
            name="other" if intent.version == 3 else "work",
            data=b"input",
            tag="gpu" if place else None,
            lease=intent.add_leased and place == 0,
            visible_at=self.after(1) if intent.held == 3 else None,
        )

    def _child(self, intent: intents.Commit, turn: LeasedTurn) -> NewChild:
        state = turn.state
        child = self.new_instance(
            intents.Create(instance=intent.child or 0, incarnation=int(intent.notified))
        )
        parent = ParentLink(
            instance=state.instance,
            incarnation=state.incarnation,
            execution=state.execution,
            event=1,
        )
        notice = Message(
            id=self.fresh("notice"),
            instance=state.instance,
            kind=MessageKind.CHILD,
            data=b"in use",
            incarnation=state.incarnation,
            execution=state.execution,
        )
        return NewChild(
            instance=replace(child, parent=parent), if_exists=notice if intent.notified else None
        )


def restart(turn: LeasedTurn) -> Message:
    """The start of the next execution."""
    state = turn.state
    return Message(
        id=f"start-{state.execution + 1}",
        instance=state.instance,
        kind=MessageKind.START,
        data=b"again",
        incarnation=state.incarnation,
        execution=state.execution + 1,
    )


def end_of(end: End) -> ExecutionEnd | None:
    """How the execution ends."""
    if end is End.NOT:
        return None
    again = end is End.AGAIN
    status = InstanceStatus.CONTINUED_AS_NEW if again else InstanceStatus.COMPLETED
    return ExecutionEnd(status=status, output=b"output")


def spoil(commit: TurnCommit, wrong: Wrong) -> TurnCommit:
    """The commit with one thing wrong."""
    match wrong:
        case Wrong.NOTHING:
            return commit
        case Wrong.TOKEN:
            return replace(commit, token="unknown")
        case Wrong.INCARNATION:
            return replace(commit, incarnation="unknown")
        case Wrong.EVENT:
            return replace(commit, expected_event=commit.expected_event + 1)
        case Wrong.EXECUTION:
            return replace(commit, execution=commit.execution + 1)
        case Wrong.ACTIVITY:
            never = ActivityLease(instance=commit.instance, activity="never", token=commit.token)
            return replace(commit, finish=(*commit.finish, never))


def pick(things: Sequence[T], number: int) -> T | None:
    """One of the things, the newest first."""
    return things[number % len(things)] if things else None
