"""Making plans of commits, without a look at the table: of a commit, and of what is known of its lease."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from perdure.clock import Instant
from perdure.contract import InstanceStatus, TurnCommit

from perdure_dynamodb._activity_items import activity_item, in_slot
from perdure_dynamodb._change_kinds import Change, Remove, Replace
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._commit_plan import CommitPlan, engine_after, slot_is_free, version_after
from perdure_dynamodb._keys import (
    PARKED,
    SLOT,
    activity_key,
    execution_key,
    front_order,
    message_key,
    segment_key,
    turn_prefix,
    value_key,
)
from perdure_dynamodb._lease_memory import RememberedLease
from perdure_dynamodb._listed import continued_item, status_item
from perdure_dynamodb._lives import LIFE
from perdure_dynamodb._locks import Validity
from perdure_dynamodb._messages import message_item
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer, lasting
from perdure_dynamodb._segments import pack
from perdure_dynamodb._table import Key
from perdure_dynamodb._values import Item, Plain, Row

STATUS_INLINE = 256
"""A larger custom status is kept apart: the lock item is paid whole with each change of it."""


class Planner:
    """Makes plans for one namespace."""

    def __init__(self, namespace: Namespace, changes: Changes) -> None:
        self._namespace = namespace
        self._keys = namespace.keys
        self._changes = changes

    def plan(
        self,
        commit: TurnCommit,
        lease: RememberedLease,
        *,
        values: Mapping[str, Row] | None = None,
        is_forced: bool = False,
    ) -> CommitPlan:
        """What a commit writes under this lease.

        `values` has, of those that the commit changes, the items that there are. A forced commit
        needs no lease, and only ends the instance.
        """
        now, buffer = self._namespace.now, ChunkBuffer.empty()
        validity = _validity_after(commit, lease)
        activities = self._added(commit, lease, buffer, now)
        in_the_slot = next((item for item in activities if "aid" in item), None)
        changes = [
            *self._removals(commit, lease, slot_is_used=in_the_slot is not None),
            *self._messages(commit, lease, validity, buffer, now),
            *(Replace(item=item) for item in activities if item is not in_the_slot),
            *self._history(commit, lease, buffer),
            *self._values(commit, lease, buffer),
            *self._no_longer_parked(commit, lease),
            *self._ending(commit, lease, buffer, now),
        ]
        return CommitPlan(
            commit=commit,
            lease=lease,
            is_forced=is_forced,
            now=now,
            lock_key=self._namespace.lock_key(commit.instance),
            queue=self._namespace.turn_queue(commit.instance),
            changes=changes,
            activities=activities,
            in_slot=in_the_slot,
            buffer=buffer,
            output=self._output(commit, lease, buffer),
            custom_status=self._custom_status(commit, lease, buffer),
            values_before=values or {},
            validity=validity,
            prefix=turn_prefix(
                lease.name, version_after(commit, lease), engine_after(commit, lease)
            ),
            answer=f"{lease.life.text}.{uuid.uuid4().hex}",
        )

    def _added(
        self, commit: TurnCommit, lease: RememberedLease, buffer: ChunkBuffer, now: Instant
    ) -> list[Item]:
        # An ended execution's activities would be void at once.
        if commit.end is not None:
            return []
        items: list[Item] = []
        may_use_slot = slot_is_free(commit, lease) or not lease.slot_is_taken
        for new in commit.add:
            if new.id in commit.cancel:
                continue
            item = activity_item(self._namespace, new, commit, buffer, life=lease.life, now=now)
            if may_use_slot and "tok" in item:
                item = in_slot(item, new.id, place=lease.slot_place)
                may_use_slot = False
            items.append(item)
        return items

    def _removals(
        self, commit: TurnCommit, lease: RememberedLease, *, slot_is_used: bool
    ) -> list[Change]:
        """Messages and activities to remove, unless the end makes them void anyway."""
        partition = self._keys.partition(commit.instance)
        removals: list[Change] = []
        if commit.end is None or commit.end.status is InstanceStatus.CONTINUED_AS_NEW:
            removals += [Remove(key=(partition, message_key(each))) for each in commit.remove]
        if commit.end is None:
            # Those that are finished are removed by the fence, and an item may be named once.
            named = {each.activity for each in commit.finish}
            if slot_is_used and lease.slot is not None:
                # What is put takes its place.
                named.add(lease.slot)
            removals += [
                Remove(key=(partition, SLOT if each == lease.slot else activity_key(each)))
                for each in commit.cancel
                if each not in named
            ]
        return removals

    def _messages(
        self,
        commit: TurnCommit,
        lease: RememberedLease,
        validity: Validity,
        buffer: ChunkBuffer,
        now: Instant,
    ) -> list[Change]:
        """Creations and messages; those to the front take the place of others of their id."""
        creations: list[Change] = []
        for child in commit.create:
            other = child.if_exists
            post = None if other is None else self._changes.post(other, buffer, life=lease.life)
            creations.append(self._changes.create(child.instance, buffer, now=now, if_exists=post))
        sent = [
            self._changes.post(
                message, buffer, life=lease.life if message.instance == commit.instance else None
            )
            for message in commit.send
        ]
        front: dict[Key, Change] = {}
        for place, message in enumerate(commit.front):
            order = front_order(lease.turn, place)
            item = message_item(self._namespace, message, buffer, order=order, life=lease.life)
            item[LIFE] = lease.life.text
            if not validity.voids(item):
                front[_key_of(item)] = Replace(item=item)
        usual = [post for post in sent if _key_of(post.item) not in front]
        return [*creations, *usual, *front.values()]

    def _history(
        self, commit: TurnCommit, lease: RememberedLease, buffer: ChunkBuffer
    ) -> list[Change]:
        tag = lease.life.tag
        partition = self._keys.partition(commit.instance)
        return [
            Replace(
                item={
                    "pk": partition,
                    "sk": segment_key(commit.execution, segment.last, tag),
                    **buffer.place(partition, segment.data, kind=lasting(tag)),
                }
            )
            for segment in pack(commit.events, after=commit.expected_event)
        ]

    def _values(
        self, commit: TurnCommit, lease: RememberedLease, buffer: ChunkBuffer
    ) -> list[Change]:
        partition, tag = self._keys.partition(commit.instance), lease.life.tag
        changes: list[Change] = []
        for key, data in commit.values.items():
            sort = value_key(key, tag)
            if data is None:
                changes.append(Remove(key=(partition, sort)))
            else:
                payload = buffer.place(partition, data, kind=lasting(tag))
                changes.append(Replace(item={"pk": partition, "sk": sort, **payload}))
        return changes

    def _no_longer_parked(self, commit: TurnCommit, lease: RememberedLease) -> list[Change]:
        partition = self._keys.partition(commit.instance)
        return [Remove(key=(partition, PARKED))] if lease.is_parked else []

    def _custom_status(
        self, commit: TurnCommit, lease: RememberedLease, buffer: ChunkBuffer
    ) -> dict[str, Plain]:
        if commit.custom_status is None:
            return {}
        partition, kind = self._keys.partition(commit.instance), lasting(lease.life.tag)
        return buffer.place(
            partition, commit.custom_status, kind=kind, name="cst", inline_limit=STATUS_INLINE
        )

    def _ending(
        self, commit: TurnCommit, lease: RememberedLease, buffer: ChunkBuffer, now: Instant
    ) -> list[Change]:
        """The record of the ended execution, or the listing of the ended instance."""
        end, last = commit.end, commit.expected_event + len(commit.events)
        if end is None:
            return []
        if end.status is not InstanceStatus.CONTINUED_AS_NEW:
            listing = status_item(
                self._namespace,
                commit.instance,
                end.status.value,
                created=lease.created,
                name=lease.name,
                is_child=lease.is_child,
                events=lease.earlier_events + last,
            )
            executions = commit.execution - lease.first_execution + 1
            return [Replace(item={**listing, "exe": executions})]
        partition = self._keys.partition(commit.instance)
        record: Item = {
            "pk": partition,
            "sk": execution_key(commit.execution, lease.life.tag),
            "evn": last,
            "sta": lease.execution_started,
            "fin": now,
        }
        if end.output is not None:
            kind = lasting(lease.life.tag)
            record |= buffer.place(partition, end.output, kind=kind, name="oup")
        changes: list[Change] = [Replace(item=record)]
        if not lease.is_listed_as_continued:
            listing = continued_item(self._namespace, commit.instance, lease.created)
            changes.append(Replace(item=listing))
        return changes

    def _output(
        self, commit: TurnCommit, lease: RememberedLease, buffer: ChunkBuffer
    ) -> dict[str, Plain]:
        end = commit.end
        if end is None or end.output is None or end.status is InstanceStatus.CONTINUED_AS_NEW:
            return {}
        partition = self._keys.partition(commit.instance)
        kind = lasting(lease.life.tag)
        return buffer.place(partition, end.output, kind=kind, name="oup")


def _validity_after(commit: TurnCommit, lease: RememberedLease) -> Validity:
    end = commit.end
    if end is None:
        return Validity(commit.incarnation, commit.execution, True, lease.life)
    continues = end.status is InstanceStatus.CONTINUED_AS_NEW
    return Validity(commit.incarnation, commit.execution + continues, continues, lease.life)


def _key_of(item: Item) -> Key:
    return (str(item["pk"]), str(item["sk"]))
