"""What can be registered, under which names, and what is refused."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from perdure import OrchestrationContext, Registry
from perdure.authoring.references import activity_reference, orchestration_reference
from perdure.authoring.registry import Catalog
from perdure.errors import (
    DuplicateRegistration,
    InvalidIdentifier,
    InvalidSignature,
    InvalidVersion,
    NondeterministicCode,
)


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
    assert (reference.input_type, reference.result_type) == (Order, int)
    assert reference.takes_input


def test_an_orchestration_takes_the_context_and_at_most_one_input() -> None:
    registry = Registry()

    @registry.orchestration
    async def without(ctx: OrchestrationContext) -> None: ...

    @registry.orchestration(name="named", version="2.0.0")
    async def with_input(ctx: OrchestrationContext, order: Order) -> str:
        return ""

    first, second = orchestration_reference(without), orchestration_reference(with_input)
    assert first is not None
    assert second is not None
    assert not first.takes_input
    assert (second.name, second.version) == ("named", "2.0.0")
    assert (second.input_type, second.result_type) == (Order, str)


def test_what_has_no_annotation_is_anything() -> None:
    registry = Registry()

    @registry.activity
    def untyped(value):
        return value

    reference = activity_reference(untyped)
    assert reference is not None
    assert (reference.input_type, reference.result_type) == (Any, Any)


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
    assert reference.input_type == Annotated[Local, "note"]
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
    assert activity(catalog, "send-one").reference.takes_input


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
    assert registered.reference.takes_input
    assert (registered.reference.input_type, registered.reference.result_type) == (Order, int)
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
    assert registered.reference.input_type is Order
    assert registered.where == f"{__file__}:{charge_for.__code__.co_firstlineno}"


def test_a_partial_that_does_not_fit_is_told_why_by_the_name_that_was_passed() -> None:
    registry = Registry()
    place = f"activity 'charge' at {__file__}:{charge.__code__.co_firstlineno}"

    with pytest.raises(InvalidSignature) as caught:
        registry.register_activity(functools.partial(charge, retries=1), name="charge")
    assert str(caught.value).startswith(f"{place} takes more than one input (bank, order);")
    with pytest.raises(InvalidSignature) as caught:
        registry.register_activity(functools.partial(charge, bank="ING", retries=1), name="charge")
    assert str(caught.value).startswith(f"{place} takes 'order' by keyword only")
    with pytest.raises(InvalidSignature, match="has no name of its own; pass name="):
        registry.activity(functools.partial(charge, "ING", retries=1))


@pytest.mark.parametrize("name", ["", "new\nline", "x" * 513])
def test_names_keep_the_rule_for_identifiers(name: str) -> None:
    with pytest.raises(InvalidIdentifier):
        Registry().register_activity(lambda: None, name=name)


async def two_inputs(ctx: OrchestrationContext, a: int, b: int) -> None: ...
async def keyword_input(ctx: OrchestrationContext, *, a: int) -> None: ...
async def optional_keyword(ctx: OrchestrationContext, *, a: int = 1) -> None: ...
async def star(ctx: OrchestrationContext, *a: int) -> None: ...
async def stars(ctx: OrchestrationContext, **a: int) -> None: ...
async def no_context() -> None: ...
def plain(ctx: OrchestrationContext) -> None: ...
async def unresolved(ctx: OrchestrationContext, a: Missing) -> None: ...  # noqa: F821


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (two_inputs, r"takes more than one input \(a, b\); put them into one model"),
        (keyword_input, "takes 'a' by keyword only, and its input is passed by position"),
        (optional_keyword, "takes more than one input"),
        (star, "takes more than one input"),
        (stars, "takes more than one input"),
        (no_context, "takes no context; its first parameter is the OrchestrationContext"),
        (plain, "is not an async function; write it as `async def`"),
        (unresolved, "cannot be resolved: name 'Missing' is not defined"),
    ],
)
def test_signatures_that_do_not_fit_are_refused_with_their_place(function: Any, words: str) -> None:
    with pytest.raises(InvalidSignature, match=words) as caught:
        Registry().orchestration(function)
    assert f"{__file__}:{function.__code__.co_firstlineno}" in str(caught.value)


def test_an_async_generator_is_no_orchestration() -> None:
    async def pages(ctx: OrchestrationContext):
        yield 1

    with pytest.raises(InvalidSignature, match="not an async function"):
        Registry().orchestration(pages)


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
