"""CALL-6: ids, names, versions, tags and tokens are kept exactly and apart.

The check takes pairs of texts that a storage may take for one another. It gives both to the storage,
asks with one of them, and complains if it is answered with the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    LeasedActivity,
    LeasedTurn,
    ParentLink,
    ParkedMark,
    Serves,
    TurnLease,
    TurnRelease,
)
from perdure.errors import (
    ActivityLeaseLost,
    InstanceAlreadyExists,
    InstanceNotFound,
    LeaseLost,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.null_characters import longest_details, null_characters
from perdure_conformance.expect import ClauseBroken, expect_equal, expect_refusal
from perdure_conformance.samples import LEASE, delivered, event, new_instance, result, work

PAIRS = (
    ("a", "A"),
    ("b", "b "),
    ("c", " c"),
    ("d/1", "d%2F1"),
    ("e 1", "e+1"),
    ("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}"),
    ("g", "\N{FULLWIDTH LATIN SMALL LETTER G}"),
    ("ss", "\N{LATIN SMALL LETTER SHARP S}"),
    ("7", "007"),
    ("h_1", "h-1"),
    ("i%", "i*"),
    ("j\\1", "j1"),
    ("k'", 'k"'),
    ("l#1", "l:1"),
    ("m|1", "m?1"),
    ("\N{ROCKET}", "\N{HIGH VOLTAGE SIGN}"),
    ("x" * 99 + "11", "x" * 99 + "12"),
    ("y" * 254 + "11", "y" * 254 + "12"),
    ("z" * 511 + "1", "z" * 511 + "2"),
    ("\N{GREEK SMALL LETTER OMEGA}" * 256, "\N{GREEK CAPITAL LETTER OMEGA}" * 256),
)
"""Texts that a storage takes for one another if it folds, strips, decodes, composes or cuts them."""

FIRSTS = tuple(first for first, _ in PAIRS)
SECONDS = tuple(second for _, second in PAIRS)
OTHERS = ("..", "[x]", "null", "\N{CJK UNIFIED IDEOGRAPH-65E5}")
ODD = (*(text for pair in PAIRS for text in pair), *OTHERS)


@check("CALL-6")
async def odd_texts_are_kept_apart(bench: Bench) -> None:
    """Ids, names, versions, tags and tokens are kept exactly and never confused."""
    await add_instances(bench)
    turns = await names_versions_and_turn_tokens(bench)
    await incarnations(bench, turns)
    await activities(bench)
    await message_ids(bench)
    await commit_ids(bench)
    await null_characters(bench)
    await longest_details(bench)


async def add_instances(bench: Bench) -> None:
    """An instance of each text, all of whose fields are that text, and what is sent to it."""
    await bench.all_well(
        bench.create(
            new_instance(
                odd,
                incarnation=odd,
                name=odd,
                version=odd,
                parent=ParentLink(instance=odd, incarnation=odd, execution=1, event=1),
            )
        )
        for odd in ODD
    )
    await bench.send(*(event(f"e-{odd}", odd) for odd in ODD))
    await bench.send(*(result("void", a, incarnation=b) for a, b in PAIRS))


async def names_versions_and_turn_tokens(bench: Bench) -> dict[str, LeasedTurn]:
    """Lease the instances of `FIRSTS`, each under a token that is its id, when none can be leased wrongly."""

    async def lease(token: str, served: Sequence[tuple[str, str]]) -> list[LeasedTurn]:
        serves = Serves(orchestrations={name: frozenset({version}) for name, version in served})
        return list(await bench.lease(token=token, serves=serves))

    second = await lease("seconds", [(text, text) for text in (*SECONDS, *OTHERS)])
    for turn in second:
        expect_fields(turn)
    found = sorted(turn.state.instance for turn in second)
    expect_equal(found, sorted(set(ODD) - set(FIRSTS)), "instances leased by their names")
    wrong = await lease("versions", PAIRS)
    expect_equal([turn.state.instance for turn in wrong], [], "leased by versions like theirs")
    wrong = await lease("names", [(b, a) for a, b in PAIRS])
    expect_equal([turn.state.instance for turn in wrong], [], "leased by names like theirs")
    turns: dict[str, LeasedTurn] = {}
    for first in FIRSTS:
        found_turns = await lease(first, [(first, first)])
        expect_equal([t.state.instance for t in found_turns], [first], f"leased under {first!r}")
        expect_equal(found_turns[0].token, first, "the token of a lease")
        expect_fields(found_turns[0])
        turns[first] = found_turns[0]
    for first, second_token in PAIRS:
        again = await lease(second_token, [(first, first)])
        expect_equal([turn.state.instance for turn in again], [], f"leased under {second_token!r}")
    gone = await bench.provider.renew_turns(
        [TurnLease(instance=a, token=b) for a, b in PAIRS], lease_for=LEASE
    )
    kept = sorted(set(FIRSTS) - {lease.instance for lease in gone})
    expect_equal(kept, [], "turns renewed under tokens like theirs")
    await expect_all_refused(
        bench,
        LeaseLost,
        "a commit under another turn token",
        {b: bench.commit(turns[a], token=b) for a, b in PAIRS},
    )
    return turns


def expect_fields(turn: LeasedTurn) -> None:
    """Complain unless each field of the instance is its id, and the mailbox has what was sent."""
    odd, state = turn.state.instance, turn.state
    parent = state.parent
    found = (state.incarnation, state.name, state.version, parent and parent.instance)
    expect_equal(found, (odd,) * 4, f"incarnation, name, version and parent of {odd!r}")
    expect_equal(parent and parent.incarnation, odd, f"incarnation of the parent of {odd!r}")
    expect_equal(delivered(turn), ["start", f"e-{odd}"], f"messages of {odd!r}")


async def incarnations(bench: Bench, turns: dict[str, LeasedTurn]) -> None:
    """An incarnation is never taken for another one of the same id."""
    provider = bench.provider
    await expect_all_refused(
        bench,
        InstanceAlreadyExists,
        "a create with another incarnation",
        {b: bench.create(new_instance(a, incarnation=b)) for a, b in PAIRS},
    )
    await expect_all_refused(
        bench,
        InstanceNotFound,
        "a history of another incarnation",
        {b: provider.read_history(a, 1, incarnation=b) for a, b in PAIRS},
    )
    await expect_all_refused(
        bench,
        LeaseLost,
        "a commit for another incarnation",
        {b: bench.commit(turns[a], incarnation=b) for a, b in PAIRS},
    )
    await bench.all_well(bench.commit(turn, events=(a.encode(),)) for a, turn in turns.items())
    histories = await bench.all_well(bench.history(a, incarnation=a) for a in turns)
    for first, history in zip(turns, histories, strict=True):
        expect_equal([each.data for each in history], [first.encode()], f"history of {first!r}")


async def activities(bench: Bench) -> None:
    """Ids, names, tags and tokens of activities."""
    turn = await bench.with_activities(*(work(odd, name=odd, tag=odd) for odd in ODD))
    found = await lease_activities(bench, "seconds", SECONDS, ODD)
    for each in found:
        expect_equal((each.name, each.tag), (each.id,) * 2, f"name and tag of {each.id!r}")
    expect_equal(sorted(e.id for e in found), sorted(SECONDS), "activities leased by their names")
    found = await lease_activities(bench, "wrong", FIRSTS, SECONDS)
    expect_equal([each.id for each in found], [], "activities leased by tags like theirs")
    held: dict[str, LeasedActivity] = {}
    for first in FIRSTS:
        found = await lease_activities(bench, first, [first], [first])
        names = [(each.id, each.name, each.tag, each.token) for each in found]
        expect_equal(names, [(first,) * 4], f"activities leased under {first!r}")
        held[first] = found[0]
    wrong = {b: ActivityLease(instance="alpha", activity=a, token=b) for a, b in PAIRS}
    gone = await bench.provider.renew_activities(list(wrong.values()), lease_for=LEASE)
    kept = sorted(set(FIRSTS) - {lease.activity for lease in gone})
    expect_equal(kept, [], "activities renewed under tokens like theirs")
    await expect_all_refused(
        bench,
        ActivityLeaseLost,
        "a completion under another token",
        {
            b: bench.provider.complete_activity(ActivityCompletion(lease=one, message=result(b)))
            for b, one in wrong.items()
        },
    )
    leases, limit = list(wrong.values()), bench.provider.finish_limit
    for some in (leases[:limit], leases[-limit:]):
        with expect_refusal(ActivityLeaseLost, "a commit that finishes under wrong tokens") as why:
            await bench.commit(turn, finish=tuple(some))
        named = sorted(why.error.activities)
        expect_equal(named, sorted(each.activity for each in some), "activities that it names")
    good = tuple(held[each.activity].lease for each in leases[:limit])
    turn = await bench.keep(turn, finish=good, cancel=SECONDS, remove=())
    mark = ParkedMark(reason="unregistered", details=f" {''.join(SECONDS[:15])} ")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
    parked = (await bench.state()).parked
    expect_equal(parked and parked.details, mark.details, "details of a mark")


async def lease_activities(
    bench: Bench, token: str, names: Sequence[str], tags: Sequence[str]
) -> Sequence[LeasedActivity]:
    """Lease activities of these names and tags."""
    return await bench.lease_work(
        token=token, names=frozenset(names), tags=frozenset(tags), limit=1000
    )


async def message_ids(bench: Bench) -> None:
    """Ids of messages, sent, held and removed; pairs of them meet in one mailbox."""
    await bench.create("mailbox")
    await bench.send(*(event(odd, "mailbox", data=odd.encode()) for odd in ODD))
    turn = await bench.take("mailbox")
    expect_equal(delivered(turn), ["start", *ODD], "ids of messages")
    found = [message.data for message in turn.messages[1:]]
    expect_equal(found, [odd.encode() for odd in ODD], "payloads by ids of messages")
    rest = [*SECONDS, *OTHERS]
    turn = await bench.keep(turn, remove=("start",), held=frozenset(FIRSTS))
    expect_equal(delivered(turn), rest, "messages that are not held")
    turn = await bench.keep(turn, remove=FIRSTS)
    expect_equal(delivered(turn), rest, "messages that were not removed")
    again = tuple(event(first, "mailbox", data=b"front") for first in FIRSTS)
    turn = await bench.keep(turn, remove=(), front=again, held=frozenset(SECONDS))
    front = [message.id for message in turn.messages if message.data == b"front"]
    expect_equal(front, list(FIRSTS), "messages put to the front")
    await bench.commit(turn, remove=ODD)
    await bench.expect_nothing_ready("every message was removed")


async def commit_ids(bench: Bench) -> None:
    """A commit is a repeat only if its id is that of the last one."""
    await bench.create("commits")
    turn = await bench.take("commits")
    events: list[bytes] = []
    for text in (text for pair in PAIRS for text in pair):
        await bench.commit(
            turn,
            id=text,
            remove=(),
            expected_event=len(events),
            events=(text.encode(),),
            keep_for=LEASE,
        )
        events.append(text.encode())
        if text in SECONDS:
            expect_equal((await bench.state("commits")).last_commit, text, "the last commit")
    found = [each.data for each in await bench.history("commits")]
    expect_equal(found, events, "events of commits with ids like one another")
    await bench.commit(turn, expected_event=len(events))


async def expect_all_refused(
    bench: Bench, kind: type[Exception], what: str, calls: Mapping[str, Awaitable[object]]
) -> None:
    """Complain unless every call raises an error of this class; each is named by the text it is about."""
    outcomes = await bench.all_of(calls.values())
    for text, outcome in zip(calls, outcomes, strict=True):
        if type(outcome) is not kind:
            raise ClauseBroken(f"{what}, {text!r}: expected {kind.__name__}, found {outcome!r}")
