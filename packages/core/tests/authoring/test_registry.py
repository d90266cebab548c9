"""What can be registered, under which names, and what is refused."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NoReturn, Protocol

import pytest
from perdure import OrchestrationContext, Registry
from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import activity_reference, orchestration_reference
from perdure.errors import (
    DuplicateRegistration,
    InvalidIdentifier,
    InvalidInput,
    InvalidSignature,
    InvalidVersion,
    NondeterministicCode,
)
from pydantic import Field


@dataclass
class Order:
    item: str


def activity(catalog: Catalog, name: str) -> Any:
    return catalog.activities[name]


def test_a_decorator_returns_the_function_itself_and_marks_it() -> None:
    registry = Registry()

    async def charge(order: Order) -> int:
        return 1

    assert registry.activity(charge) is charge
    reference = activity_reference(charge)
    assert reference is not None
    assert reference.name == "charge"
    assert (reference.parameters.types, reference.result_type) == ({"order": Order}, int)


def test_an_orchestration_takes_the_context_and_its_input() -> None:
    registry = Registry()

    @registry.orchestration
    async def without(ctx: OrchestrationContext) -> None: ...

    @registry.orchestration(name="named", version="2.0.0")
    async def with_input(ctx: OrchestrationContext, order: Order) -> str:
        return ""

    first, second = orchestration_reference(without), orchestration_reference(with_input)
    assert first is not None
    assert second is not None
    assert first.parameters.types == {}
    assert (second.name, second.version) == ("named", "2.0.0")
    assert (second.parameters.types, second.result_type) == ({"order": Order}, str)


def test_what_has_no_annotation_is_anything() -> None:
    registry = Registry()

    @registry.activity
    def untyped(value):
        return value

    reference = activity_reference(untyped)
    assert reference is not None
    assert (reference.parameters.types, reference.result_type) == ({"value": Any}, Any)


def test_annotations_keep_their_extras_and_may_be_local() -> None:
    @dataclass
    class Local:
        n: int

    registry = Registry()

    @registry.activity
    async def work(value: Annotated[Local, "note"]) -> list[Local]:
        return [value]

    reference = activity_reference(work)
    assert reference is not None
    assert reference.parameters.types == {"value": Annotated[Local, "note"]}
    assert reference.result_type == list[Local]


def test_plain_functions_and_coroutine_functions_are_told_apart() -> None:
    registry = Registry()

    class Callable:
        __name__ = "callable"

        async def __call__(self) -> None: ...

    registry.activity(name="plain")(lambda: None)
    registry.register_activity(Callable(), name="callable")
    catalog = Catalog([registry])

    assert not activity(catalog, "plain").asynchronous
    assert activity(catalog, "callable").asynchronous


def test_bound_methods_are_registered_by_name_and_told_apart() -> None:
    class Mailer:
        def __init__(self, host: str) -> None:
            self.host = host

        async def send(self, text: str) -> str:
            return self.host + text

    one, two = Mailer("one"), Mailer("two")
    registry = Registry()
    registry.register_activity(one.send, name="send-one")
    registry.register_activity(two.send, name="send-two")
    catalog = Catalog([registry])

    assert activity_reference(one.send) is None
    found = catalog.activity_of(two.send)
    assert found is not None
    assert found.name == "send-two"
    assert activity(catalog, "send-one").reference.parameters.names == ("text",)


async def charge(bank: str, order: Order, *, retries: int = 3) -> int:
    return 1


async def charge_for(bank: str, ctx: OrchestrationContext, order: Order) -> int:
    return 1


class Charging:
    order: str = "an attribute of that name"

    async def __call__(self, bank: str, order: Order) -> int:
        return 1


@pytest.mark.parametrize(
    "function",
    [
        functools.partial(charge, "ING", retries=1),
        functools.partial(functools.partial(charge, "ING"), retries=1),
        functools.partial(Charging(), "ING"),
    ],
)
def test_a_partial_has_the_input_that_it_leaves_open_and_the_annotations_of_its_function(
    function: Any,
) -> None:
    registry = Registry()
    registry.register_activity(function, name="charge")

    registered = activity(Catalog([registry]), "charge")
    assert registered.asynchronous
    assert registered.reference.parameters.types == {"order": Order}
    assert registered.reference.result_type is int
    assert activity_reference(function) is registered.reference


def test_a_partial_of_an_orchestration_is_registered_and_its_code_is_read() -> None:
    async def reads_the_clock(limit: float, ctx: OrchestrationContext) -> bool:
        return time.time() > limit

    registry = Registry()
    registry.orchestration(name="charge")(functools.partial(charge_for, "ING"))
    with pytest.raises(NondeterministicCode, match=r"time\.time"):
        registry.orchestration(name="late")(functools.partial(reads_the_clock, 1.0))

    registered = Catalog([registry]).orchestration("charge", None)
    assert registered is not None
    assert registered.reference.parameters.types == {"order": Order}
    assert registered.where == f"{__file__}:{charge_for.__code__.co_firstlineno}"


def test_a_partial_leaves_open_what_it_does_not_bind() -> None:
    registry = Registry()
    registry.register_activity(functools.partial(charge, retries=1), name="two")
    registry.register_activity(functools.partial(charge, bank="ING", retries=1), name="keyword")
    catalog = Catalog([registry])

    assert activity(catalog, "two").reference.parameters.names == ("bank", "order")
    assert activity(catalog, "keyword").reference.parameters.names == ("order",)


def test_a_partial_or_a_lambda_that_does_not_fit_is_told_why_by_the_name_that_was_passed() -> None:
    async def many(ctx: OrchestrationContext, *orders: Order) -> None: ...

    registry = Registry()
    with pytest.raises(InvalidSignature, match=r"^orchestration 'named' at .* takes \*orders"):
        registry.orchestration(name="named")(functools.partial(many))
    with pytest.raises(InvalidSignature, match=r"^activity 'named' at .* takes \*\*options"):
        registry.activity(name="named")(lambda **options: 1)
    with pytest.raises(InvalidSignature, match="has no name of its own; pass name="):
        registry.activity(functools.partial(charge, "ING", retries=1))


@pytest.mark.parametrize("name", ["", "new\nline", "x" * 513])
def test_names_keep_the_rule_for_identifiers(name: str) -> None:
    with pytest.raises(InvalidIdentifier):
        Registry().register_activity(lambda: None, name=name)


class HasNow(Protocol):
    def now(self) -> datetime: ...


async def star(ctx: OrchestrationContext, *a: int) -> None: ...
async def stars(ctx: OrchestrationContext, **a: int) -> None: ...
async def by_position(ctx: OrchestrationContext, a: int, b: int, /) -> None: ...
async def no_context() -> None: ...
async def keyword_context(*, ctx: OrchestrationContext) -> None: ...
async def input_first(order: Order) -> None: ...
async def list_first(orders: list[Order], ctx: OrchestrationContext) -> None: ...
async def two_contexts(ctx: OrchestrationContext, other: OrchestrationContext) -> None: ...
async def hidden_default(ctx: OrchestrationContext, a: int | None = 1) -> None: ...
async def untyped_default(ctx: OrchestrationContext, a=1) -> None: ...
async def field_default(ctx: OrchestrationContext, a: int = Field(1, ge=1), b: int = 2) -> None: ...
def plain(ctx: OrchestrationContext) -> None: ...
async def unresolved(ctx: OrchestrationContext, a: Missing) -> None: ...  # noqa: F821


async def pages(ctx: OrchestrationContext) -> AsyncIterator[int]:
    yield 1


def lines(ctx: OrchestrationContext) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (star, r"takes \*a: 'int', and a payload has a value for each name; name them all"),
        (stars, r"takes \*\*a: 'int', and a payload has a value for each name"),
        (by_position, "takes 'a' by position only, .* remove the `/`"),
        (no_context, "takes no context; its first parameter is the context, as in `async def"),
        (keyword_context, "takes no context; its first parameter is the context"),
        (input_first, "takes order: 'Order' first, and no context; its first parameter"),
        (list_first, "first, and no context; its first parameter is the context"),
        (two_contexts, "takes a context as 'other'; only the first parameter"),
        (
            hidden_default,
            "gives 'a' the default 1, which is never used: without an input it is None",
        ),
        (untyped_default, "gives 'a' the default 1, which is never used"),
        (field_default, "gives 'a' a pydantic Field as its default, .* Annotated"),
        (plain, "is not an async function; write it as `async def`"),
        (unresolved, "cannot be resolved: name 'Missing' is not defined"),
        (pages, "yields values, and has one result; collect them in a list and return it"),
        (lines, "yields values, and has one result"),
    ],
)
def test_signatures_that_do_not_fit_are_refused_with_their_place(function: Any, words: str) -> None:
    with pytest.raises(InvalidSignature, match=words) as caught:
        Registry().orchestration(function)
    assert f"{__file__}:{function.__code__.co_firstlineno}" in str(caught.value)


async def untyped_context(ctx) -> None: ...
async def protocol_context(ctx: HasNow, a: int, *, b: int = 1) -> None: ...
async def optional_context(ctx: OrchestrationContext | None) -> None: ...
async def annotated_context(ctx: Annotated[OrchestrationContext, "note"], /, a: int) -> None: ...
async def no_default(ctx: OrchestrationContext, a: int | None = None) -> None: ...
async def used_default(ctx: OrchestrationContext, a: int = 1) -> None: ...
async def never_ends(ctx: OrchestrationContext) -> NoReturn:
    while True:
        await ctx.schedule_timer(1)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (untyped_context, ()),
        (protocol_context, ("a", "b")),
        (optional_context, ()),
        (annotated_context, ("a",)),
        (no_default, ("a",)),
        (used_default, ("a",)),
        (never_ends, ()),
    ],
)
def test_signatures_that_fit_are_taken(function: Any, names: tuple[str, ...]) -> None:
    Registry().orchestration(function)

    reference = orchestration_reference(function)
    assert reference is not None
    assert reference.parameters.names == names


def in_a_list(ctx: OrchestrationContext, n: int) -> None: ...


class Mailer:
    async def send(self, text: str) -> None: ...

    async def serve(self, ctx: OrchestrationContext) -> None: ...


def unreadable() -> None: ...


unreadable.__signature__ = 7  # type: ignore[attr-defined]


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (int, "activity 'int' at <class 'int'> is a class; register a function that makes one"),
        (Order, "activity 'Order' .* is a class"),
        (
            unreadable,
            "activity 'unreadable' at .* has no signature that can be read; call it in a function",
        ),
        (numbers, "yields values, and has one result"),
        (Mailer.send, "takes 'self', the object that a method belongs to; register the method"),
        ("charge", "'charge' is not a function; pass one .*, and its name as name='charge'"),
        (in_a_list, "takes a context as 'ctx'; .* an activity asks activity_context()"),
    ],
)
def test_what_is_no_function_that_returns_a_value_is_no_activity(function: Any, words: str) -> None:
    with pytest.raises(InvalidSignature, match=words):
        Registry().activity(function)


def test_a_version_is_a_semantic_version() -> None:
    with pytest.raises(InvalidVersion, match="'1.0' is not a semantic version"):
        Registry().orchestration(version="1.0")(_flow())


def test_the_same_name_twice_is_refused_with_both_places() -> None:
    registry = Registry()
    registry.activity(name="work")(lambda: 1)
    first = registry.orchestration(name="flow")(_flow())
    with pytest.raises(DuplicateRegistration, match="activity 'work' is registered twice") as one:
        registry.activity(name="work")(lambda: 2)
    with pytest.raises(DuplicateRegistration, match=r"'flow' version 1.0.0 is registered twice"):
        registry.orchestration(name="flow")(_flow())
    assert str(one.value).count(__file__) == 2
    registry.orchestration(name="flow")(first)  # the same function again changes nothing


def test_a_function_stands_for_one_name() -> None:
    registry = Registry()
    flow = registry.orchestration(name="one")(_flow())
    with pytest.raises(DuplicateRegistration, match="is registered as 'one' and as 'two'"):
        registry.orchestration(name="two")(flow)
    assert Catalog([registry]).orchestration("two", None) is None


def test_a_wrapper_of_a_registered_function_stands_for_its_own_name() -> None:
    registry = Registry()
    flow = registry.orchestration(name="one")(_flow())

    @registry.orchestration(name="two")
    @functools.wraps(flow)
    async def wrapper(ctx: OrchestrationContext) -> None: ...

    known = orchestration_reference(flow), orchestration_reference(wrapper)
    assert [reference.name for reference in known if reference] == ["one", "two"]


def test_including_a_registry_takes_in_all_and_refuses_what_differs() -> None:
    inner, outer = Registry(), Registry()
    flow = inner.orchestration(name="flow")(_flow())
    inner.activity(name="work")(lambda: 1)
    outer.include(inner)
    outer.include(inner)

    assert [d.function for d in outer.orchestrations()] == [flow]
    assert [d.name for d in outer.activities()] == ["work"]
    outer.activity(name="more")(lambda: 1)
    assert [d.name for d in inner.activities()] == ["work"]
    other = Registry()
    other.activity(name="work")(lambda: 2)
    with pytest.raises(DuplicateRegistration, match="'work'"):
        outer.include(other)


def test_a_method_is_registered_of_an_object() -> None:
    registry = Registry()
    with pytest.raises(InvalidSignature, match="takes 'self', the object that a method belongs"):
        registry.orchestration(Mailer.serve)
    registry.orchestration(name="serve")(Mailer().serve)

    assert [each.name for each in registry.orchestrations()] == ["serve"]


def test_a_registry_that_replaces_takes_the_later_of_two() -> None:
    registry = Registry(replace=True)
    registry.activity(name="work")(lambda: 1)
    second = registry.activity(name="work")(lambda: 2)
    registry.orchestration(name="flow")(_flow())
    flow = registry.orchestration(name="flow")(_flow())
    started = Catalog([registry])
    third = registry.activity(name="work")(lambda: 3)

    assert [each.function for each in registry.activities()] == [third]
    assert [each.function for each in registry.orchestrations()] == [flow]
    assert activity(started, "work").function is second
    with pytest.raises(InvalidInput, match="replace 'yes' is neither True nor False"):
        Registry(replace="yes")  # type: ignore[arg-type]


def test_what_is_no_registry_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is not a Registry; pass the Registry that"):
        Catalog([charge])  # type: ignore[list-item]


def test_the_newest_version_is_found_by_precedence() -> None:
    registry = Registry()
    for version in ("1.10.0", "1.9.0", "2.0.0-rc.1", "1.10.0-beta"):
        registry.orchestration(name="flow", version=version)(_flow())
    catalog = Catalog([registry])

    newest = catalog.orchestration("flow", None)
    assert newest is not None
    assert newest.version == "2.0.0-rc.1"
    assert catalog.versions() == {
        "flow": frozenset({"1.10.0", "1.9.0", "2.0.0-rc.1", "1.10.0-beta"})
    }
    assert catalog.orchestration("flow", "3.0.0") is None
    assert catalog.orchestration("other", None) is None


def test_something_without_a_name_needs_one() -> None:
    with pytest.raises(InvalidSignature, match="has no name of its own; pass name="):
        Registry().activity(lambda: 1)


def _flow() -> Any:
    async def flow(ctx: OrchestrationContext) -> None: ...

    return flow
