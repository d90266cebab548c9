"""Random types and values: equal again or refused, and one text in every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import random_values
from .random_values import REFUSED, outcome

COUNT = int(os.environ.get("PERDURE_VALUES", "300"))


def source(name: str, *arguments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A call, of the source texts of its arguments."""
    return st.tuples(*arguments).map(lambda each: f"{name}({', '.join(each)})")


texts = st.text(st.characters(exclude_categories=()), max_size=4).map(repr)
words = st.text("abcé", max_size=3).map(repr)
integers = st.integers(-(10**40), 10**40).map(repr)
floats = st.floats().map(repr)
offsets = st.one_of(
    st.just("UTC"),
    st.just("None"),
    st.integers(-86_399, 86_399).map(lambda seconds: f"timezone(timedelta(seconds={seconds}))"),
)
instants = st.tuples(st.datetimes(), offsets).map(
    lambda each: f"{each[0]!r}.replace(tzinfo={each[1]})".removeprefix("datetime.")
)
points = source("Point", integers, floats)
spots = source("Spot", integers, floats, words)


def listed(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(items, max_size=4).map(lambda each: f"[{', '.join(each)}]")


def set_of(items: st.SearchStrategy[str], kind: str) -> st.SearchStrategy[str]:
    return listed(items).map(lambda each: f"{kind}({each})")


def entries(keys: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(keys, values).map(": ".join)
    return st.lists(pairs, max_size=3).map(lambda each: f"{{{', '.join(each)}}}")


LEAVES: dict[str, st.SearchStrategy[str]] = {
    "None": st.just("None"),
    "bool": st.booleans().map(repr),
    "int": integers,
    "float": floats,
    "str": texts,
    "bytes": st.binary(max_size=3).map(repr),
    "Decimal": (st.decimals(allow_nan=False) | st.just(Decimal("NaN"))).map(repr),
    "UUID": st.uuids().map(repr),
    "date": st.dates().map(lambda each: repr(each).removeprefix("datetime.")),
    "datetime": instants,
    "timedelta": st.timedeltas().map(lambda each: repr(each).removeprefix("datetime.")),
    "Colour": st.sampled_from(["Colour.RED", "Colour.BLUE"]),
    "Level": st.sampled_from(["Level.LOW", "Level.HIGH"]),
    "Literal['a', 1]": st.sampled_from(["'a'", "1", "True"]),
    "Cat": source("Cat", set_of(words, "set").map("names={}".format)),
    "Kitten": source("Kitten", integers.map("lives={}".format)),
    "Point": points,
    "Spot": spots,
    "Shape": source("Shape", listed(points | spots), set_of(points, "frozenset")),
    "Pair": source("Pair", integers, set_of(words, "frozenset")),
    "Names": source("Names", set_of(words, "frozenset")),
    "Box[Decimal | set[str]]": source(
        "Box[Decimal | set[str]]", set_of(words, "set").map("item={}".format)
    ),
    "SecretStr": source("SecretStr", words),
}
HASHABLE = sorted(
    LEAVES.keys()
    - {"Cat", "Kitten", "Shape", "Literal['a', 1]", "SecretStr", "Box[Decimal | set[str]]"}
)

keys = st.one_of(*(LEAVES[name] for name in HASHABLE))
anything = st.recursive(
    st.one_of(*LEAVES.values()),
    lambda inner: listed(inner) | entries(keys, inner) | set_of(keys, "set"),
    max_leaves=6,
)
LEAVES["Any"] = anything
LEAVES["Dog"] = source(
    "Dog", instants.map("at={}".format), entries(words, anything).map("data={}".format)
)

Case = tuple[str, st.SearchStrategy[str]]


@st.composite
def types(draw: st.DrawFn, depth: int = 3) -> Case:
    """An annotation, and values that mostly fit it."""
    shapes = ["leaf", "leaf", "list", "set", "dict", "tuple", "union"] if depth else ["leaf"]
    shape = draw(st.sampled_from(shapes))
    if shape == "leaf":
        name = draw(st.sampled_from(sorted(LEAVES)))
        return name, LEAVES[name]
    if shape == "set":
        name = draw(st.sampled_from(HASHABLE))
        kind = draw(st.sampled_from(["set", "frozenset"]))
        return f"{kind}[{name}]", set_of(LEAVES[name], kind)
    inner, values = draw(types(depth - 1))
    if shape == "list":
        return f"list[{inner}]", listed(values)
    if shape == "dict":
        key = draw(st.sampled_from(HASHABLE))
        return f"dict[{key}, {inner}]", entries(LEAVES[key], values)
    other, more = draw(types(depth - 1))
    if shape == "tuple":
        pairs = st.tuples(values, more).map(lambda each: f"({each[0]}, {each[1]})")
        return f"tuple[{inner}, {other}]", pairs
    if "None" in (inner, other):  # None | None is no type
        return inner, values
    return f"{inner} | {other}", values | more


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str]:
    annotation, fitting = draw(types())
    misfits = draw(st.integers(0, 9)) == 0
    return annotation, draw(anything if misfits else fitting)


def in_another_process(seen: list[tuple[str, str]], seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, Path(random_values.__file__)],
        input="\n".join(map(json.dumps, seen)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_random_values_come_back_equal_or_are_refused_and_have_one_text_everywhere() -> None:
    seen: dict[tuple[str, str], str] = {}

    @settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    def play(case: tuple[str, str]) -> None:
        seen[case] = outcome(*case)

    play()

    stored = list(seen.values())
    assert stored.count(REFUSED) < len(stored) / 2
    for seed in ("1", "2"):
        assert in_another_process(list(seen), seed) == stored
