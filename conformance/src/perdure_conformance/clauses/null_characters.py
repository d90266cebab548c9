"""CALL-6 and LEASE-15: texts with U+0000, which many storages end a text at, and the longest details."""

from __future__ import annotations

from collections.abc import Awaitable

from perdure.contract import ParkedMark, TurnRelease
from perdure.errors import InvalidInput

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.expect import ClauseBroken, expect_equal
from perdure_conformance.samples import delivered, event, incarnation_of, new_instance

WITH_NULL = ("cut\0here", "cut\0", "cut\0there")
LONGEST_DETAILS = 4_000
"""In characters."""


async def null_characters(bench: Bench) -> None:
    """A text with U+0000 is kept exactly or refused as invalid, and never cut."""
    for text in WITH_NULL:
        new = new_instance(text, incarnation=incarnation_of("cut"))
        if await was_taken(bench.provider.create_instance(new), f"an instance {text!r}"):
            expect_equal((await bench.state(text)).instance, text, "an id with U+0000")
        found = await bench.provider.read_instance(text.replace("\0", ""))
        expect_equal(found, None, f"an instance whose id is {text!r} without its U+0000")
    expect_equal(await bench.provider.read_instance("cut"), None, "an id that was cut at U+0000")
    await bench.create("with nulls")
    sent = ["start"]
    for text in WITH_NULL:
        if await was_taken(bench.send(event(text, "with nulls")), f"a message {text!r}"):
            sent.append(text)
    turn = await bench.pick("with nulls")
    expect_equal(delivered(turn), sent, "messages whose ids have U+0000")
    await bench.commit(turn)


async def was_taken(call: Awaitable[object], what: str) -> bool:
    """Whether a call went through, and was not refused as invalid; complains about any other error."""
    try:
        await call
    except InvalidInput:
        return False
    except Exception as error:
        raise ClauseBroken(
            f"{what}, which has U+0000, raised {error!r}; keep it or raise InvalidInput"
        ) from error
    return True


async def longest_details(bench: Bench) -> None:
    """The longest details of a mark are kept exactly."""
    await bench.create("with details")
    turn = await bench.pick("with details")
    details = "".join(chr(0x20AC + n % 40) for n in range(LONGEST_DETAILS))
    mark = ParkedMark(reason="unregistered", details=details)
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
    parked = (await bench.state("with details")).parked
    expect_equal(parked and parked.details, details, "details of 4,000 characters")
