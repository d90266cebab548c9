"""What each operation costs: requests and capacity units, by doing it once and counting.

`measure` runs in a namespace of its own, through the given transport, and removes its items
in the end. The payloads are small. Its clock moves only where a cost comes with time, so that a
process that waits for work looks only when work was announced; these looks into the index are left out of what a whole
orchestration costs, and have a line of their own.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import perdure
from perdure.clock import ManualClock
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRequest,
    CancellationWait,
    ExecutionEnd,
    InstanceQuery,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    LeasedActivity,
    LeasedTurn,
    Message,
    MessageKind,
    NewActivity,
    NewInstance,
    ParentLink,
    ParkedMark,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)

from perdure_dynamodb._keys import Keys
from perdure_dynamodb._opening import open_on
from perdure_dynamodb._options import DynamoDBOptions
from perdure_dynamodb._provider import DynamoDBProvider
from perdure_dynamodb._table import Select, Table
from perdure_dynamodb._transport import Calls
from perdure_dynamodb.testing.metering import Bill, MeteringCalls

LISTED = 20
"""So many instances there are when they are listed and counted."""
STEPS = 50
RENEWALS = 12

_LEASE = timedelta(seconds=30)
_PAYLOAD = b'{"order": 4711}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What something costs."""

    operation: str
    requests: float
    write_units: float
    read_units: float

    def __str__(self) -> str:
        figures = (self.requests, self.write_units, self.read_units)
        return " | ".join([f"| {self.operation}", *(f"{each:g}" for each in figures)]) + " |"


TITLE = "| operation | requests | WCU | RCU |\n| --- | --- | --- | --- |"


def table_of(costs: Sequence[Cost]) -> str:
    """The costs as a table in Markdown."""
    return "\n".join([TITLE, *map(str, costs)])


async def measure(calls: Calls, table: str, *, shards: int = 4) -> Sequence[Cost]:
    """Do everything once, and say what it cost."""
    costs: list[Cost] = []
    for part in (
        _measure_orchestrations,
        _measure_calls,
        _measure_management,
        _measure_recovery_and_deletion,
    ):
        namespace = f"costs-{uuid.uuid4().hex}"
        meter = _Meter(calls, table, namespace, shards)
        try:
            async with meter.open() as provider:
                await part(meter, provider)
        finally:
            await _remove(Table(calls, table), Keys.of(namespace), shards)
        costs += meter.costs
    return costs


class _Meter:
    """Opens the provider, and notes what each thing costs."""

    def __init__(self, calls: Calls, table: str, namespace: str, shards: int) -> None:
        self.costs: list[Cost] = []
        self.clock = ManualClock()
        self._calls = MeteringCalls(calls)
        self._options = DynamoDBOptions(table=table, namespace=namespace, shards=shards)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[DynamoDBProvider]:
        async with open_on(self._calls, self._options, clock=self.clock) as provider:
            yield provider

    async def bill(self, provider: DynamoDBProvider) -> Bill:
        """What was sent since the last time, with what went on in the background."""
        # Closing waits for that, and does no more.
        await provider.close()
        return self._calls.take()

    async def charge(
        self, operation: str, provider: DynamoDBProvider, work: Awaitable[object]
    ) -> None:
        """Note what a call costs."""
        await self.bill(provider)
        await work
        self.note(operation, await self.bill(provider), looks=True)

    def note(self, operation: str, bill: Bill, *, looks: bool = False, parts: int = 1) -> None:
        """Note a bill, or one of its equal parts."""
        self.costs.append(
            Cost(
                operation=operation,
                requests=(bill.total + looks * bill.looks) / parts,
                write_units=bill.write_units / parts,
                read_units=(bill.read_units + looks * bill.look_units) / parts,
            )
        )


async def _measure_orchestrations(meter: _Meter, provider: DynamoDBProvider) -> None:
    async with perdure.Runtime(provider, _program()):
        client = perdure.Client(provider)

        async def run(instance: str, activities: int) -> Bill:
            await meter.bill(provider)
            await client.start_orchestration(instance, "chain", str(activities))
            await client.wait_for_orchestration(instance)
            return await meter.bill(provider)

        short, long = await run("short", 1), await run("long", 1 + STEPS)
    meter.note("run an instance of one activity, and wait for its end", short)
    meter.note("run each further activity after activity", long - short, parts=STEPS)


async def _measure_calls(meter: _Meter, provider: DynamoDBProvider) -> None:
    async def charge(operation: str, work: Awaitable[object]) -> None:
        await meter.charge(operation, provider, work)

    # The first looks after opening also ask for what a wrong clock has locked for too long, and for
    # what dead processes left.
    await _lease_turn(provider)
    await _lease_work(provider)
    await charge("look for turns, and find none", _lease_turn(provider))
    await charge("look for activities, and find none", _lease_work(provider))
    await charge("create an instance", provider.create_instance(_new("one")))
    await charge("send an event", provider.send([_event("one", "e0")]))
    await charge(
        "send ten events to one instance",
        provider.send([_event("one", f"e{n}") for n in range(1, 11)]),
    )
    await charge("send an event to an id that does not exist", provider.send([_event("none", "e")]))
    large = _event("one", "large", b"x" * 100_000)
    await charge("send an event of 100 KB", provider.send([large]))
    await charge("read an instance", provider.read_instance("one"))

    turns: list[LeasedTurn] = []
    await charge(
        "lease a turn with 13 messages, one of them of 100 KB", _lease_turn(provider, turns)
    )
    lease = TurnLease(instance="one", token=turns[0].token)
    await charge("renew a turn's lease", provider.renew_turns([lease], lease_for=_LEASE))
    await charge("give a turn's lease back", provider.release_turn(TurnRelease(lease=lease)))

    turn = await _turn_of(provider, "two")
    await charge("commit a turn with one activity", provider.commit_turn(_commit(turn, add=1)))
    works: list[LeasedActivity] = []
    await charge("lease an activity", _lease_work(provider, works))
    work = works[0].lease
    await meter.bill(provider)
    for _ in range(RENEWALS):
        meter.clock.advance(_LEASE / 3)
        await provider.renew_activities([work], lease_for=_LEASE)
    bill = await meter.bill(provider)
    meter.note("renew an activity's lease, at a third of its length", bill, parts=RENEWALS)
    wait = CancellationWait(leases=(work,), timeout=timedelta(0))
    await provider.wait_for_cancellation(wait)
    await charge("see whether an activity is cancelled", provider.wait_for_cancellation(wait))
    result = Message(
        id="result", instance="two", kind=MessageKind.ACTIVITY, data=_PAYLOAD, incarnation="two"
    )
    await charge(
        "complete an activity by message",
        provider.complete_activity(ActivityCompletion(lease=work, message=result)),
    )
    turn = await _turn_of(provider, "two", new=False)
    end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=_PAYLOAD)
    await charge(
        "commit the end of an instance", provider.commit_turn(_commit(turn, "end", end=end))
    )

    turn = await _turn_of(provider, "three")
    await provider.commit_turn(_commit(turn, "first", add=1, leased=True))
    await charge(
        "commit a step: an activity's result, the next activity, the lease kept",
        provider.commit_turn(
            _commit(turn, "second", after=2, add=1, leased=True, finish="first 0")
        ),
    )
    await charge(
        "the same, where the next activity has another name or tag",
        provider.commit_turn(
            _commit(
                turn,
                "third",
                after=4,
                add=1,
                leased=True,
                finish="second 0",
                activity="other work",
            )
        ),
    )
    turn = await _turn_of(provider, "ten")
    await charge("commit a turn with 10 activities", provider.commit_turn(_commit(turn, add=10)))
    turn = await _turn_of(provider, "many")
    await charge(
        "commit a turn with 1,000 activities", provider.commit_turn(_commit(turn, add=1000))
    )
    await charge(
        "read a history of 1,001 events", provider.read_history("many", 1, incarnation="many")
    )


async def _measure_management(meter: _Meter, provider: DynamoDBProvider) -> None:
    admin = provider.as_management_capability()
    for number in range(LISTED):
        await provider.create_instance(_new(f"listed-{number}"))
    await meter.charge(
        f"list {LISTED} running instances",
        provider,
        admin.list_instances(limit=LISTED, status=InstanceStatus.RUNNING),
    )
    await meter.charge(f"count instances, of which {LISTED} run", provider, admin.count_instances())
    running = InstanceQuery(statuses=frozenset({InstanceStatus.RUNNING}))
    await meter.charge(
        f"find {LISTED} running instances, with all fields",
        provider,
        admin.find_instances(running, limit=LISTED),
    )
    link = ParentLink(instance="listed-0", incarnation="listed-0", execution=1, event=1)
    await meter.charge(
        "create a child, which its parent is linked to",
        provider,
        provider.create_instance(replace(_new("child"), parent=link)),
    )
    await meter.charge(
        "create an instance with a label",
        provider,
        provider.create_instance(replace(_new("labelled"), labels={"tenant": "acme"})),
    )
    await meter.charge(
        "find the child of an instance",
        provider,
        admin.find_instances(InstanceQuery(parent="listed-0"), limit=LISTED),
    )
    await meter.charge(
        f"find the one instance of {LISTED + 2} with a label",
        provider,
        admin.find_instances(InstanceQuery(labels={"tenant": "acme"}), limit=LISTED),
    )
    await _measure_parking(meter, provider)


async def _measure_parking(meter: _Meter, provider: DynamoDBProvider) -> None:
    admin = provider.as_management_capability()
    turn = await _turn_of(provider, "parked")
    mark = ParkedMark(reason="unregistered", details="no runtime has it")
    release = TurnRelease(lease=TurnLease(instance="parked", token=turn.token), parked=mark)
    await meter.charge("give a turn's lease back, parked", provider, provider.release_turn(release))
    await meter.charge(
        f"find the one parked instance of {LISTED + 3}",
        provider,
        admin.find_instances(InstanceQuery(parked=True), limit=LISTED),
    )
    await meter.charge(
        "read what is queued for an instance",
        provider,
        admin.read_work("parked"),
    )


async def _measure_recovery_and_deletion(meter: _Meter, provider: DynamoDBProvider) -> None:
    turn = await _turn_of(provider, "one")
    await provider.commit_turn(_commit(turn, "first", add=1, leased=True))
    await meter.charge(
        "commit a step that sets a custom status and a value",
        provider,
        provider.commit_turn(
            replace(
                _commit(turn, "second", after=2, add=1, leased=True, finish="first 0"),
                custom_status=_PAYLOAD,
                values={"order": _PAYLOAD},
            )
        ),
    )
    await meter.charge("read the values of an instance", provider, provider.read_values("one"))
    stop = InstanceTermination(
        id="stop", instance="one", incarnation="one", events=(_PAYLOAD,), output=_PAYLOAD
    )
    await meter.charge("terminate an instance", provider, provider.terminate_instance(stop))
    start = replace(_new("one").start, id="again", execution=2)
    again = InstanceReopening(
        id="again", instance="one", incarnation="one", execution=1, start=start
    )
    await meter.charge(
        "reopen an instance that has ended", provider, provider.reopen_instance(again)
    )
    stop = replace(stop, id="stop again")
    await provider.terminate_instance(stop)
    await meter.charge(
        "delete an instance of two executions, three commits and a value",
        provider,
        provider.delete_instance("one", incarnation="one"),
    )
    turn = await _turn_of(provider, "two")
    end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=_PAYLOAD)
    await provider.commit_turn(_commit(turn, end=end))
    await meter.charge(
        "delete an instance of one commit",
        provider,
        provider.delete_instance("two", incarnation="two"),
    )


def _program() -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def work(number: int) -> int:  # pyright: ignore[reportUnusedFunction] # registered
        return number + 1

    @app.orchestration
    async def chain(ctx: perdure.OrchestrationContext, activities: int) -> int:  # pyright: ignore[reportUnusedFunction] # registered
        number = 0
        for _ in range(activities):
            number = await ctx.schedule_activity(work, number)
        return number

    return app


def _new(instance: str) -> NewInstance:
    start = Message(
        id="start",
        instance=instance,
        kind=MessageKind.START,
        data=_PAYLOAD,
        incarnation=instance,
        execution=1,
    )
    return NewInstance(instance=instance, incarnation=instance, name="flow", start=start)


def _event(instance: str, name: str, data: bytes = _PAYLOAD) -> Message:
    return Message(id=name, instance=instance, kind=MessageKind.EVENT, data=data)


async def _lease_turn(
    provider: DynamoDBProvider, turns: list[LeasedTurn] | None = None, *, limit: int = 10
) -> None:
    serves = Serves(orchestrations={"flow": frozenset()})
    request = TurnRequest(token=uuid.uuid4().hex, limit=limit, lease_for=_LEASE, serves=serves)
    found = await provider.lease_turns(request)
    if turns is not None:
        turns += found


async def _lease_work(
    provider: DynamoDBProvider, works: list[LeasedActivity] | None = None
) -> None:
    request = ActivityRequest(
        token=uuid.uuid4().hex, limit=10, lease_for=_LEASE, names=frozenset({"work"})
    )
    found = await provider.lease_activities(request)
    if works is not None:
        works += found


async def _turn_of(provider: DynamoDBProvider, instance: str, *, new: bool = True) -> LeasedTurn:
    """A turn of this instance, whatever else is leased on the way."""
    if new:
        await provider.create_instance(_new(instance))
    turns: list[LeasedTurn] = []
    await _lease_turn(provider, turns, limit=100)
    return next(turn for turn in turns if turn.state.instance == instance)


def _commit(
    turn: LeasedTurn,
    name: str = "commit",
    *,
    after: int | None = None,
    add: int = 0,
    leased: bool = False,
    finish: str | None = None,
    activity: str = "work",
    end: ExecutionEnd | None = None,
) -> TurnCommit:
    """A commit with two events, or one for each activity and one more."""
    state = turn.state
    activities = [
        NewActivity(id=f"{name} {number}", name=activity, data=_PAYLOAD, lease=leased)
        for number in range(add)
    ]
    worker = "worker"
    finished = ActivityLease(instance=state.instance, activity=finish or "", token=worker)
    return TurnCommit(
        id=f"{state.instance} {name}",
        instance=state.instance,
        incarnation=state.incarnation,
        token=turn.token,
        execution=state.execution,
        expected_event=state.last_event if after is None else after,
        events=(_PAYLOAD,) * (max(add, 1) + 1),
        remove=tuple(message.id for message in turn.messages) if after is None else (),
        finish=() if finish is None else (finished,),
        add=tuple(activities),
        activity_token=worker,
        activity_lease_for=_LEASE,
        end=end,
        keep_for=_LEASE if leased else None,
    )


async def _remove(table: Table, keys: Keys, shards: int) -> None:
    """Remove all that was written into a namespace."""
    partitions = {keys.config}
    for shard in range(shards):
        for queue in _queues(keys, shard):
            select = Select(partition=queue, index=True)
            partitions |= {row.text("pk") async for row in table.query_all(select)}
    for partition in partitions:
        rows = [
            (row.text("pk"), row.text("sk"))
            async for row in table.query_all(Select(partition=partition, only="pk, sk"))
        ]
        await table.delete_many(rows)


def _queues(keys: Keys, shard: int) -> Sequence[str]:
    statuses = [each.value for each in InstanceStatus]
    listings = [keys.listing(status, shard) for status in statuses]
    return [keys.waiting(shard), keys.litter(shard), *listings]
