"""MAIL-12, MAIL-13 and MAIL-15: how much a delivery has, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from perdure.contract import MAX_BYTES_PER_DELIVERY, MAX_MESSAGES_PER_DELIVERY

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import expect_equal
from perdure_conformance.samples import COMPLETED, delivered, event, ids

QUARTER = bytes(MAX_BYTES_PER_DELIVERY // 4)


@check("MAIL-12")
async def a_delivery_has_a_thousand_messages(bench: Bench) -> None:
    """A delivery has at most 1,000 messages, the first ones, and says whether others wait."""
    limit = MAX_MESSAGES_PER_DELIVERY
    early = [event(f"e-{n:05}") for n in reversed(range(limit + 2))]
    await bench.provider.send(early)
    await bench.create()
    turn = await bench.take()
    expect_equal(len(turn.messages), limit, "messages in a delivery")
    wanted = ["start", *ids(early)]
    expect_equal((delivered(turn), turn.more), (wanted[:limit], True), "the first delivery")
    turn = await bench.keep(turn)
    wanted = wanted[limit:]
    expect_equal((delivered(turn), turn.more), (wanted, False), "the second delivery")
    await bench.commit(turn, remove=())
    more = [event(f"m-{n:05}") for n in range(limit - len(wanted))]
    await bench.provider.send(more)
    wanted += ids(more)
    turn = await bench.take()
    expect_equal((delivered(turn), turn.more), (wanted, False), "a delivery of exactly 1,000")
    await bench.send(event("last"))
    turn = await bench.keep(turn, remove=())
    expect_equal((delivered(turn), turn.more), (wanted, True), "a delivery of 1,000 out of 1,001")
    turn = await bench.keep(turn)
    expect_equal((delivered(turn), turn.more), (["last"], False), "the last message")


@check("MAIL-13")
async def a_delivery_has_four_megabytes(bench: Bench) -> None:
    """A delivery has at most 4 MiB, but at least one message, and says whether others wait."""
    await expect_exactly_full(bench)
    huge = QUARTER * 4 + b"1"
    sizes = {
        "a byte too many": ([QUARTER + b"1", *[QUARTER] * 3], [3, 1]),
        "one beyond": ([b"1", huge, b"1"], [1, 1, 1]),
        "small ones behind": ([QUARTER * 3, QUARTER * 2, b"1", b"2"], [1, 3]),
    }
    for name, (payloads, wanted) in sizes.items():
        turn = await bench.started(name)
        sent = [event(f"e-{n}", name, data=data) for n, data in enumerate(payloads)]
        await bench.provider.send(sent)
        turn = await bench.keep(turn)
        deliveries = [delivered(turn)]
        while turn.more and turn.messages:
            turn = await bench.keep(turn)
            deliveries.append(delivered(turn))
        expect_equal([len(each) for each in deliveries], wanted, f"deliveries, {name}")
        found = [each for delivery in deliveries for each in delivery]
        expect_equal(found, ids(sent), f"messages, {name}")
        await bench.commit(turn, end=COMPLETED)


async def expect_exactly_full(bench: Bench) -> None:
    """Complain unless a delivery has exactly 4 MiB, where that is what there is, or the first part of it."""
    turn = await bench.started()
    sent = [event(f"e-{n}", data=QUARTER) for n in range(4)]
    await bench.provider.send(sent)
    await bench.commit(turn)
    turn = await bench.take()
    expect_equal((delivered(turn), turn.more), (ids(sent), False), "a delivery of exactly 4 MiB")
    await bench.send(event("last", data=b"1"))
    turn = await bench.keep(turn, remove=())
    expect_equal((delivered(turn), turn.more), (ids(sent), True), "4 MiB, and a byte behind")
    turn = await bench.keep(turn)
    expect_equal((delivered(turn), turn.more), (["last"], False), "the byte behind 4 MiB")
    await bench.commit(turn, end=COMPLETED)


@check("MAIL-15")
async def concurrent_sends_lose_nothing(bench: Bench) -> None:
    """Of messages sent at once, also while their instance is created, none is lost and none doubled."""
    objects = [bench.provider, await bench.open()]
    await bench.create()
    wanted = {f"e-{n}" for n in range(120)}
    await bench.all_well(
        objects[n % 2].send([event(each)]) for n, each in enumerate(sorted(wanted))
    )
    found = delivered(await bench.take())
    expect_equal(sorted(found), sorted({"start", *wanted}), "messages delivered")
    await expect_no_event_lost_to_a_creation(bench)


async def expect_no_event_lost_to_a_creation(bench: Bench) -> None:
    """Complain if an event that is sent while its instance is created is lost, doubled or misplaced."""
    other = await bench.open()
    shifts = {f"i{shift:+03}": shift for shift in range(-12, 13)}
    creations = (later(-shift, bench.create(name)) for name, shift in shifts.items())
    sends = (
        later(shift, other.send([event("one", name), event("two", name)]))
        for name, shift in shifts.items()
    )
    await bench.all_of([*creations, *sends])
    turns = {turn.state.instance: delivered(turn) for turn in await bench.lease()}
    for name, shift in shifts.items():
        expect_equal(
            turns.get(name),
            ["start", "one", "two"],
            f"messages of an instance, events sent {shift} steps after its creation began",
        )


async def later(steps: int, call: Awaitable[object]) -> None:
    """Begin a call when the event loop has made this many steps, or at once."""
    for _ in range(steps):
        await asyncio.sleep(0)
    await call
