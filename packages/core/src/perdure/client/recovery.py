"""Recovery: the methods of a client that run an instance again, copy it, or end it at once.

They need the capability `recovery`. A rewind is a new execution, which begins with the events of an
earlier one up to a cut; the earlier ones stay as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perdure.client import calls
from perdure.client.any_loop import on_any_loop
from perdure.client.arguments import check_count, check_execution, check_reason, is_integer
from perdure.client.creating import create
from perdure.client.ending import incarnation_of_child, open_children, terminate
from perdure.client.handle import Handle
from perdure.client.histories import read_history
from perdure.client.instance_filter import InstanceFilter, query_of_roots
from perdure.client.reopening import Rewind, check_begun, check_cut, reopen
from perdure.client.start_options import IfExists, StartOptions, check_options
from perdure.client.starting import new_instance
from perdure.client.starts import StartingClient
from perdure.client.trees import find_all
from perdure.errors import (
    ExecutionNotFound,
    InstanceRunning,
    InvalidInput,
    PerdureError,
    ProviderError,
)
from perdure.history import TERMINAL, Event
from perdure.model.details import ApplicationFailure, Terminated
from perdure.model.identifiers import check_identifier
from perdure.model.record import record
from perdure.model.shown import shown
from perdure.model.versions import check_version
from perdure.model.wire import HistoryCopy, StartData
from perdure.records.cuts import cut_before_failure
from perdure.records.instances import InstanceState, InstanceStatus
from perdure.records.limits import RECOVERY


@record
class RetriedInstances:
    """What `retry_instances` did."""

    retried: tuple[str, ...]
    """The ids of the instances that run again."""
    refused: tuple[tuple[str, str], ...]
    """The ids of those that do not, each with the reason."""


class RecoveryClient(StartingClient):
    """The methods that run instances again, copy them, or end them."""

    @on_any_loop
    async def retry_instance(
        self,
        instance: str,
        *,
        reason: str = "",
        version: str | None = None,
        newest_version: bool = False,
    ) -> int:
        """Run a failed instance again from just before what failed it; returns the new execution.

        The failure of an activity that nothing caught is dropped: the activity runs again, with all
        its attempts, under the same idempotency key. A failed child is retried first, and its parent
        then waits for it. If the code raised after a success, that result is kept, and the code
        alone runs again. A cancelled instance goes on from before the request; what its cleanup did
        is not undone. External events that the dropped part consumed are delivered again.

        `version` pins the new execution to a version, `newest_version` lets the first runtime choose;
        without them the version stays. `reason` is recorded.

        Raises `InstanceNotFound`, `InstanceRunning`, `InvalidInput` for a completed instance, and
        `HistoryConflict` if another caller was first. After an error that leaves the outcome open,
        a repeat retries it once, or raises `InstanceRunning`.
        """
        self._enter("retry_instance", RECOVERY)
        _check(reason, version, newest_version=newest_version)
        return await self._retry(await self._existing(instance), reason, version, newest_version)

    @on_any_loop
    async def retry_instances(
        self, filter: InstanceFilter | None = None, *, limit: int, reason: str = ""
    ) -> RetriedInstances:
        """Retry up to `limit` failed instances that match, newest first, as `retry_instance` does.

        Only instances without a parent are retried, and failed children with them. An instance that
        cannot be retried does not stop the others; the result names it, with the reason. Repeat the
        call until it retries none.
        """
        self._enter("retry_instances", RECOVERY)
        query = query_of_roots(filter, {InstanceStatus.FAILED})
        check_count(limit, "limit")
        check_reason(reason)
        retried: list[str] = []
        refused: list[tuple[str, str]] = []
        async for state in find_all(self._provider, query):
            if len(retried) == limit:
                break
            try:
                await self._retry(state, reason, None, newest_version=False)
            except PerdureError as error:
                if isinstance(error, ProviderError) and error.retryable:
                    raise
                refused.append((state.instance, str(error)))
            else:
                retried.append(state.instance)
        return RetriedInstances(retried=tuple(retried), refused=tuple(refused))

    @on_any_loop
    async def rewind_instance(
        self,
        instance: str,
        *,
        to_event: int,
        execution: int | None = None,
        reason: str = "",
        version: str | None = None,
        newest_version: bool = False,
    ) -> int:
        """Run an instance again from an event of its history; returns the new execution.

        The instance may be running, parked or ended. The new execution keeps the events up to
        `to_event` of this execution, by default the newest: an incoming event, to which the code
        then answers again, or the end of a turn. Kept work that had not ended is done again under
        the same idempotency key; children that were started later are cancelled; external events
        that were consumed later are delivered again. The earlier executions stay readable. A parent
        that was told of the end is not told twice.

        The other arguments are those of `retry_instance`. Raises `InstanceNotFound`,
        `ExecutionNotFound`, `InvalidInput`, which names the nearest events, for an event in the
        middle of a turn, and `HistoryConflict` if another execution has begun meanwhile.
        """
        self._enter("rewind_instance", RECOVERY)
        _check(reason, version, newest_version=newest_version)
        state = await self._existing(instance)
        execution, events = await self._history(state, execution)
        to_event = _check_cut(instance, execution, events, to_event)
        rewind = Rewind(
            execution=execution,
            to_event=to_event,
            reason=reason,
            version=version,
            newest_version=newest_version,
        )
        return await reopen(self._provider, state, rewind)

    @on_any_loop
    async def fork_instance(
        self,
        source: str,
        instance: str,
        *,
        to_event: int | None = None,
        execution: int | None = None,
        reason: str = "",
        version: str | None = None,
        labels: Mapping[str, str] | None = None,
        if_exists: IfExists = "raise",
    ) -> Handle[object]:
        """Start an instance under a new id with a copy of another one's history; returns its handle.

        The copy goes up to `to_event` of this execution, by default the newest, as in
        `rewind_instance`; by default to its end, or to where `retry_instance` would go on, if it has
        ended. Activities and children are those of the new instance, with keys of its own: work of the
        copied part that had not ended is done for it, too. The source is not changed, and need not
        be running. The headers are those of the source, and so are the labels and the version unless
        you pass others. `if_exists` is that of a start.

        Raises `InstanceNotFound`, `ExecutionNotFound`, `InvalidInput`, and what a start raises.
        """
        self._enter("fork_instance", RECOVERY)
        _check(reason, version, newest_version=False)
        options = StartOptions(labels=labels, if_exists=if_exists)
        checked = check_options(options, self._provider.clock)
        if check_identifier(instance, "instance id") == source:
            raise InvalidInput(
                f"instance {source!r} cannot be forked onto its own id; pass another one, or use"
                " rewind_instance"
            )
        state = await self._existing(source)
        execution, events = await self._history(state, execution)
        check_begun(source, execution, events)
        cut = default_cut(events) if to_event is None else to_event
        to_event = _check_cut(source, execution, events, cut)
        data = StartData(
            copy=HistoryCopy(
                instance=source,
                incarnation=state.incarnation,
                execution=execution,
                to_event=to_event,
            ),
            reason=reason,
            requested_at=self._provider.clock.now(),
        )
        new = new_instance(
            instance,
            state.name,
            version or state.version,
            data,
            state.labels if labels is None else checked.labels,
        )
        await create(self._provider, new, checked.if_exists)
        return self._handle(instance, object)

    @on_any_loop
    async def terminate_instance(self, instance: str, reason: str = calls.DEFAULT_REASON) -> bool:
        """End a running instance at once, without its code; returns whether this call ended it.

        It is `Failed` when the call returns, kind terminated, with the message "terminated:
        REASON". No cleanup runs: prefer `cancel_instance`, which lets the orchestration clean up.
        Its running activities hear of it as of a cancellation, its children are asked to cancel,
        and its parent gets the failure. Returns False, without an effect, if it had ended. Raises
        `InstanceNotFound`. Safe to repeat.
        """
        self._enter("terminate_instance", RECOVERY)
        check_reason(reason)
        state = await self._existing(instance)
        if calls.has_ended(state):
            return False
        details = ApplicationFailure(Terminated(reason=reason))
        return await terminate(self._provider, state, details)

    async def _retry(
        self, state: InstanceState, reason: str, version: str | None, newest_version: bool
    ) -> int:
        if not calls.has_ended(state):
            raise InstanceRunning(state.instance, instead="rewind it with rewind_instance")
        if state.status is not InstanceStatus.FAILED:
            raise InvalidInput(
                f"instance {state.instance!r} is {state.status.value}, and a retry needs a failed"
                " one; use rewind_instance"
            )
        execution, events = await self._history(state, None)
        check_begun(state.instance, execution, events)
        to_event = cut_before_failure(events)
        await self._retry_children(state, events[:to_event], reason)
        rewind = Rewind(
            execution=execution,
            to_event=to_event,
            reason=reason,
            version=version,
            newest_version=newest_version,
        )
        return await reopen(self._provider, state, rewind)

    async def _retry_children(
        self, parent: InstanceState, kept: Sequence[Event], reason: str
    ) -> None:
        """Retry the failed children that the parent will wait for again.

        Before the parent: it would otherwise get the old failure at once.
        """
        for child in open_children(kept):
            state = await calls.read(self._provider, child.instance)
            incarnation = incarnation_of_child(kept, child, parent.incarnation)
            if (
                state is not None
                and state.incarnation == incarnation
                and state.status is InstanceStatus.FAILED
            ):
                await self._retry(state, reason, None, newest_version=False)

    async def _history(
        self, state: InstanceState, execution: int | None
    ) -> tuple[int, Sequence[Event]]:
        """The number of the execution, by default the newest, and its events."""
        if execution is None:
            execution = state.execution
        check_execution(execution)
        if not 1 <= execution <= state.execution:
            raise ExecutionNotFound(state.instance, execution)
        events = await read_history(
            self._provider, state.instance, execution, incarnation=state.incarnation
        )
        return execution, events


def default_cut(events: Sequence[Event]) -> int:
    """Where a fork goes on: at the end of what the source has done, without its own end."""
    last = events[-1]
    return cut_before_failure(events) if isinstance(last, TERMINAL) else last.event_id


def _check(reason: str, version: str | None, *, newest_version: bool) -> None:
    check_reason(reason)
    if version is not None:
        check_version(version)
        if newest_version:
            raise InvalidInput(
                f"version {version!r} and newest_version are both given; give one of them"
            )


def _check_cut(instance: str, execution: int, events: Sequence[Event], to_event: int) -> int:
    if not is_integer(to_event):
        raise InvalidInput(
            f"to_event {shown(to_event)} is not a number; read_execution_history shows the events"
        )
    check_cut(instance, execution, events, to_event)
    return to_event
