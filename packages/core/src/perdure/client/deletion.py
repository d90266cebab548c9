"""Deletion: the methods of a client that remove what is stored.

They need the capability `deletion`, and `listing` where whole trees go. What they delete is gone for
every reader when they return, and its id is free. Each can be repeated after a failure, and then
finishes what was left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from perdure.client import calls
from perdure.client.any_loop import on_any_loop
from perdure.client.arguments import check_count, check_instant
from perdure.client.instance_filter import InstanceFilter, query_of_roots
from perdure.client.part import ClientPart
from perdure.client.trees import (
    InstanceTree,
    delete_tree,
    find_all,
    living_parent,
    read_tree,
    terminate_tree,
)
from perdure.errors import InstanceRunning, InvalidInput
from perdure.model.details import ApplicationFailure, Terminated
from perdure.model.identifiers import check_identifier
from perdure.model.shown import shown
from perdure.records.instances import InstanceState, InstanceStatus
from perdure.records.limits import DELETION, LISTING, RECOVERY

_ENDED = (InstanceStatus.COMPLETED, InstanceStatus.FAILED)
_AT_ONCE = 16
"""How many trees are deleted side by side: what a storage needs to work on several at once."""
_BATCH = 1000
"""How many early events one call of the provider deletes at most."""


class DeletionClient(ClientPart):
    """The methods that delete."""

    @on_any_loop
    async def delete_instance(self, instance: str, *, force: bool = False) -> int:
        """Delete an instance with its tree of children; returns how many instances that were.

        Histories, values, messages and activities go with them. An id that does not exist is no
        error: the call returns 0. Instances that were started detached are not part of the tree.

        Without `force`, the whole tree must have ended, and the parent of the instance, if it has
        one, too: otherwise `InstanceRunning` names what runs, and nothing is deleted. With `force`,
        what runs is terminated first, from the root on and without its cleanup; the parent of the
        instance gets `SubOrchestrationFailed`, kind terminated. Turns and activities that are under
        way are refused when they end.
        """
        self._enter("delete_instance", DELETION, LISTING, *([RECOVERY] if force else ()))
        check_identifier(instance, "instance id")
        root = await calls.read(self._provider, instance)
        if root is None:
            return 0
        if force:
            details = ApplicationFailure(Terminated(reason="the instance was deleted"))
            await terminate_tree(self._provider, root, details)
            root = await calls.read(self._provider, instance)
            if root is None:
                return 0
        else:
            await self._refuse_living_parent(root)
        return await delete_tree(self._provider, root)

    @on_any_loop
    async def delete_instances(
        self, filter: InstanceFilter | None = None, *, limit: int, dry_run: bool = False
    ) -> list[str]:
        """Delete up to `limit` ended instances that match, each with its tree; returns their ids.

        Only instances without a parent are found; children go with them. An instance whose tree
        still runs is left out. With `dry_run`, nothing is deleted, and the ids are those that a
        call would begin with. Repeat the call until it returns none:
        `delete_instances(InstanceFilter(updated_before=…), limit=100)`.
        """
        self._enter("delete_instances", DELETION, LISTING)
        query = query_of_roots(filter, _ENDED)
        check_count(limit, "limit")
        found: list[str] = []
        part: list[InstanceState] = []
        async for state in find_all(self._provider, query):
            part.append(state)
            if len(part) == min(_AT_ONCE, limit - len(found)):
                found += await self._delete_ended(part, dry_run=dry_run)
                part.clear()
                if len(found) == limit:
                    break
        return found + await self._delete_ended(part, dry_run=dry_run)

    @on_any_loop
    async def prune_executions(
        self,
        instance: str,
        *,
        keep_last: int | None = None,
        completed_before: datetime | None = None,
    ) -> int:
        """Delete old executions of an instance, with their histories; returns how many there were.

        `keep_last` keeps so many, the newest one included; `completed_before` deletes only what
        ended earlier. With both, an execution must meet both to be deleted. The newest execution
        always stays. Nothing is deleted before the first turn of the newest one, because it may
        be a rewind that has an older one still to read. Raises `InstanceNotFound`.
        """
        admin = self._admin("prune_executions", DELETION)
        if keep_last is None and completed_before is None:
            raise InvalidInput(
                "prune_executions was not told what to delete; pass keep_last or completed_before"
            )
        kept = 1 if keep_last is None else check_count(keep_last, "keep_last")
        limit = (
            None
            if completed_before is None
            else check_instant(completed_before, "completed_before")
        )
        state = await self._existing(instance)
        before = state.execution - kept + 1
        if before <= 1 or state.last_event == 0:
            return 0
        if limit is not None:
            executions = await self._retried(lambda: admin.list_executions(instance))
            staying = [
                each.execution
                for each in executions
                if each.completed_at is None or each.completed_at >= limit
            ]
            before = min([before, *staying])
        return await self._retried(
            lambda: self._provider.prune_executions(
                instance, incarnation=state.incarnation, before=before
            )
        )

    @on_any_loop
    async def get_instance_tree(self, instance: str) -> InstanceTree:
        """An instance with its children, their children, and so on; raises `InstanceNotFound`.

        One page of a listing is read for each instance of the tree.
        """
        self._enter("get_instance_tree", LISTING)
        return await read_tree(self._provider, await self._existing(instance))

    @on_any_loop
    async def delete_early_events(
        self, instance: str | None = None, *, arrived_before: datetime | None = None
    ) -> int:
        """Delete external events that wait for an instance which does not exist; returns how many.

        Those for one id, or those of all ids that arrived earlier than `arrived_before`, or both.
        """
        self._enter("delete_early_events", DELETION)
        if instance is None and arrived_before is None:
            raise InvalidInput(
                "delete_early_events was not told what to delete; pass an instance id, or"
                " arrived_before"
            )
        if instance is not None:
            check_identifier(instance, "instance id")
        limit = None if arrived_before is None else check_instant(arrived_before, "arrived_before")
        deleted = 0
        while True:
            batch = await self._retried(
                lambda: self._provider.delete_early_events(
                    instance, arrived_before=limit, limit=_BATCH
                )
            )
            deleted += batch
            if batch < _BATCH:
                return deleted

    @on_any_loop
    async def delete_namespace(self, *, confirm: str) -> None:
        """Delete everything in the namespace of the provider: instances, histories, events, all.

        `confirm` is the description of the provider, `client.provider.description`, written out: its
        URL with the namespace. Stop all runtimes and clients of the namespace before. Raises
        `InvalidInput`, which tells the description, for another text.
        """
        self._enter("delete_namespace", DELETION)
        description = self._provider.description
        if confirm != description:
            raise InvalidInput(
                f"confirm {shown(confirm)} is not the storage of this client; to delete everything"
                f" in it, pass confirm={description!r}"
            )
        await self._retried(self._provider.delete_namespace)

    async def _delete_ended(self, roots: Sequence[InstanceState], *, dry_run: bool) -> list[str]:
        """Delete these side by side, each with its tree; returns the ids of those that had ended."""
        if dry_run:
            return [root.instance for root in roots]
        # A failure is raised when all have come to their end.
        done = await asyncio.gather(*map(self._delete_if_ended, roots), return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return [root.instance for root, gone in zip(roots, done, strict=True) if gone]

    async def _delete_if_ended(self, root: InstanceState) -> bool:
        """Delete the tree; returns False if some of it runs."""
        try:
            return await delete_tree(self._provider, root) > 0
        except InstanceRunning:
            return False

    async def _refuse_living_parent(self, child: InstanceState) -> None:
        parent = await living_parent(self._provider, child)
        if parent is not None:
            raise InstanceRunning(
                parent, instead=f"pass force=True to delete its child {child.instance!r} before"
            )
