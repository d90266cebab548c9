"""The fence of a commit: the change of the lock item, under the conditions of the whole commit."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.clock import to_microseconds
from perdure.contract import InstanceStatus

from perdure_dynamodb._commit_plan import CommitPlan
from perdure_dynamodb._keys import FIRST, locked_until, open_since
from perdure_dynamodb._lease_memory import MANY_TIMERS
from perdure_dynamodb._locks import LEASE_STANDS, RUNNING, unsignalled
from perdure_dynamodb._payloads import reference_name, size_name
from perdure_dynamodb._table import Update
from perdure_dynamodb._values import Plain


def fence_of(plan: CommitPlan, in_use: Sequence[str], *, parts: int | None = None) -> Update:
    """The change of the lock item; `parts` of a manifest where the commit is staged."""
    change = _LockChange(plan)
    change.add_fields()
    change.add_lease()
    change.add_answer(in_use)
    if parts is None:
        change.add_place(in_use)
    else:
        change.add_stage(parts)
    return change.update()


class _LockChange:
    """The change of the lock item, put together part by part."""

    def __init__(self, plan: CommitPlan) -> None:
        self._plan = plan
        self._sets = ["cid = :id", "upd = :at", "trn = trn + :one", "att = :attempt"]
        self._removes = ["pkr", "pkd", "pks", "hid", "tkf", "inu"]
        commit = plan.commit
        self._values: dict[str, Plain] = {
            ":id": commit.id,
            ":at": plan.now,
            ":one": 1,
            ":attempt": 1 if plan.keeps else 0,
            ":inc": commit.incarnation,
            ":exe": commit.execution,
            ":expected": commit.expected_event,
            ":turn": plan.lease.turn,
        }
        self._conditions = [
            "inc = :inc AND exe = :exe AND evn = :expected AND trn = :turn",
            "attribute_not_exists(stg) AND (attribute_not_exists(cid) OR cid <> :id)",
        ]
        if plan.is_forced:
            self._conditions.append(f"stat = :running AND {plan.lease.life.condition}")
            self._values |= {":running": RUNNING, ":life": plan.lease.life.text}
        else:
            self._conditions.append(LEASE_STANDS)
            self._values[":token"] = commit.token

    def add_fields(self) -> None:
        """The plain fields."""
        commit, end = self._plan.commit, self._plan.commit.end
        self._values[":last"] = commit.expected_event + len(commit.events)
        if end is not None and end.status is InstanceStatus.CONTINUED_AS_NEW:
            self._sets += ["evn = :none", "exe = :next", "sta = :at", "tev = tev + :last"]
            self._values |= {":none": 0, ":next": commit.execution + 1}
            if commit.unpin and commit.version is None:
                self._removes.append("ver")
            if not self._plan.lease.is_listed_as_continued:
                self._set_or_not("can", 1)
        else:
            self._sets.append("evn = :last")
        self._set_or_not("stat", end.status.value if end is not None and self._plan.ends else None)
        self._set_or_not("ver", commit.version)
        self._set_or_not("eng", commit.engine)
        for name, value in self._plan.output.items():
            self._set_or_not(name, value)
        self._add_status_and_values()
        if self._plan.slot != self._plan.lease.slot:
            self._set_or_remove("slt", self._plan.slot)
        self._set_or_remove("acu", self._plan.activities_until)
        self._set_or_not("lit", 1 if self._plan.puts_chunks else None)
        self._add_timers()

    def _add_status_and_values(self) -> None:
        plan = self._plan
        if plan.custom_status:
            for name in ("cst", reference_name("cst"), size_name("cst")):
                self._set_or_remove(name, plan.custom_status.get(name))
            self._set_or_not("csn", plan.custom_status_version)
        if plan.commit.values:
            self._set_or_not("vln", plan.value_count)

    def _add_timers(self) -> None:
        """What the next lease may know of the timers, where they are many."""
        plan = self._plan
        if plan.timers >= MANY_TIMERS and plan.next_due is not None:
            self._set_or_not("nxt", plan.next_due)
            self._set_or_not("nxn", plan.timers)
            self._set_or_not("nxs", plan.lease.timer_signals)
        else:
            self._removes += ["nxt", "nxn", "nxs"]

    def add_lease(self) -> None:
        """The end of the lease, whether it is kept or not."""
        if self._plan.until is None:
            self._sets.append("rel = :at")
            self._removes += ["tok", "unt"]
        else:
            self._set_or_not("unt", self._plan.until)

    def add_answer(self, in_use: Sequence[str]) -> None:
        """What a repeat of the commit is answered."""
        self._set_or_remove("ans", self._plan.answer if in_use else None)

    def add_place(self, in_use: Sequence[str]) -> None:
        """Where the instance stands in the queue from now on."""
        plan, lease, until = self._plan, self._plan.lease, self._plan.until
        if plan.ends:
            self._end_place()
            return
        if until is None:
            if plan.leaves_messages(in_use):
                self._stand(open_since(plan.now))
                return
            self._removes += ["gpk", "gsk"]
        else:
            if plan.moves:
                self._stand(locked_until(until, since=lease.since))
            if plan.reads_mailbox(in_use):
                return
        if lease.signals is not None:
            self._conditions.append(unsignalled(lease.signals, self._values))

    def _end_place(self) -> None:
        """An instance that leaves something behind stands where it is until that is removed."""
        plan, lease = self._plan, self._plan.lease
        if plan.leaves_nothing and lease.signals is not None:
            self._removes += ["gpk", "gsk"]
            self._conditions.append(unsignalled(lease.signals, self._values))
        elif not lease.place_until:
            self._stand(open_since(plan.now))

    def add_stage(self, parts: int) -> None:
        """That the rest is in a manifest; the instance stands first in the queue meanwhile."""
        plan = self._plan
        self._sets += ["stg = :stage", "stp = :zero", "stn = :parts"]
        self._values |= {":stage": plan.answer, ":zero": 0, ":parts": parts}
        self._stand(FIRST)
        if not plan.keeps:
            # Other processes leave the rest to this one while it has the lease.
            kept = ("unt",) if plan.is_forced else ("tok", "unt")
            self._removes = [each for each in self._removes if each not in kept]
            self._sets += ["stf = :one", "unt = :until"]
            self._values[":until"] = plan.now + to_microseconds(plan.lease.lease_for)

    def update(self) -> Update:
        """The whole change."""
        return Update(
            key=self._plan.lock_key,
            change=f"SET {', '.join(self._sets)} REMOVE {', '.join(self._removes)}",
            condition=" AND ".join(self._conditions),
            values=self._values,
        )

    def _stand(self, place: str) -> None:
        self._sets += ["gpk = :queue", "gsk = :place"]
        self._values |= {":queue": self._plan.queue, ":place": self._plan.prefix + place}

    def _set_or_not(self, name: str, value: Plain | None) -> None:
        if value is not None:
            self._sets.append(f"{name} = :new_{name}")
            self._values[f":new_{name}"] = value

    def _set_or_remove(self, name: str, value: Plain | None) -> None:
        self._set_or_not(name, value)
        if value is None:
            self._removes.append(name)
