"""What a runtime refuses to start with: direct calls of activities, types that cannot be stored.

Passing an activity on is no call of it.
"""

from __future__ import annotations

import asyncio
import dis
import functools
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any, TypedDict

import perdure
import pytest
from perdure import InvalidSignature, NondeterministicCode, OrchestrationContext, Registry
from perdure.authoring.catalog import Catalog
from perdure.authoring.startup import refuse_direct_calls, refuse_unstorable_types
from pydantic import BaseModel, Field, SecretBytes, SecretStr, field_serializer

app = Registry()


@app.activity
async def charge(customer: str) -> str:
    return f"receipt of {customer}"


@app.activity
def tick() -> None: ...


class Shop:
    async def ship(self, item: str) -> str:
        return item

    @staticmethod
    @app.activity
    def weigh(item: str) -> int:
        return len(item)


shop, other_shop = Shop(), Shop()
ship = shop.ship
app.register_activity(shop.ship, name="ship")
charge_twice = functools.partial(charge)
app.register_activity(charge_twice, name="charge_twice")
module = ModuleType("shop")
vars(module).update(charge=charge)
sys.modules["shop_of_this_test"] = module


async def plainly(ctx: OrchestrationContext) -> str:
    return await charge("ada")


async def in_a_branch(ctx: OrchestrationContext) -> str:
    for customer in "ab":
        if customer == "b":
            return await charge(customer=customer)
    return ""


async def with_unpacked_arguments(ctx: OrchestrationContext) -> str:
    arguments = ("ada",)
    return await charge(*arguments)


async def of_a_module(ctx: OrchestrationContext) -> str:
    return await module.charge("ada")


async def of_a_module_with_unpacked_arguments(ctx: OrchestrationContext) -> str:
    arguments = {"customer": "ada"}
    return await module.charge(**arguments)


async def imported_inside(ctx: OrchestrationContext) -> str:
    from shop_of_this_test import charge as imported  # type: ignore[import-not-found]

    return await imported("ada")


async def under_another_name(ctx: OrchestrationContext) -> str:
    pay = charge
    return await pay("ada")


async def in_a_gather(ctx: OrchestrationContext) -> list[str]:
    return await asyncio.gather(*(charge(customer) for customer in "ab"))


async def in_a_nested_function(ctx: OrchestrationContext) -> str:
    async def both() -> str:
        return await charge("ada")

    return await both()


async def as_an_argument_of_another_call(ctx: OrchestrationContext) -> str:
    return str(await asyncio.wait_for(charge("ada"), 5))


async def of_a_partial(ctx: OrchestrationContext) -> str:
    return await charge_twice("ada")


async def of_a_bound_method(ctx: OrchestrationContext) -> str:
    return await shop.ship("x")


async def of_a_bound_method_by_its_name(ctx: OrchestrationContext) -> str:
    return await ship("x")


async def of_a_static_method(ctx: OrchestrationContext) -> int:
    return Shop.weigh("x")


def from_a_closure() -> Callable[[OrchestrationContext], Awaitable[object]]:
    pay = charge

    async def closed_over(ctx: OrchestrationContext) -> object:
        return await pay("ada")

    return closed_over


def refusal(function: Callable[..., Any]) -> str | None:
    """Why the orchestration is refused, or None where it is not."""
    flows = Registry()
    flows.orchestration(name="flow")(function)
    try:
        refuse_direct_calls(Catalog([app, flows]))
    except NondeterministicCode as refused:
        return str(refused)
    return None


@pytest.mark.parametrize(
    ("function", "activity"),
    [
        (plainly, "charge"),
        (in_a_branch, "charge"),
        (with_unpacked_arguments, "charge"),
        (of_a_module, "charge"),
        (of_a_module_with_unpacked_arguments, "charge"),
        (imported_inside, "charge"),
        (under_another_name, "charge"),
        (in_a_gather, "charge"),
        (in_a_nested_function, "charge"),
        (as_an_argument_of_another_call, "charge"),
        (from_a_closure(), "charge"),
        (of_a_partial, "charge_twice"),
        (of_a_bound_method, "ship"),
        (of_a_bound_method_by_its_name, "ship"),
        (of_a_static_method, "weigh"),
    ],
)
def test_each_form_of_a_call_is_found_once(function: Callable[..., Any], activity: str) -> None:
    refused = refusal(function)

    assert refused is not None
    assert refused.count(f"'{activity}' at {__file__}:") == 1
    assert refused.count(__file__) == 1


async def passed_on(ctx: OrchestrationContext) -> object:
    first = await ctx.schedule_activity(charge, "ada")
    await ctx.schedule_activity(tick)
    schedule = ctx.schedule_activity
    return [first, await schedule(shop.ship, "x"), await ctx.schedule_activity(module.charge, "b")]


async def passed_on_and_called_with_its_arguments(ctx: OrchestrationContext) -> object:
    await ctx.activity(tick)()
    return [await ctx.activity(charge)("ada"), await ctx.activity(shop.ship)(item="x")]


async def passed_on_in_a_row(ctx: OrchestrationContext) -> object:
    return [await ctx.schedule_activity(each, "x") for each in (charge, shop.ship, Shop.weigh)]


async def passed_on_and_bound(ctx: OrchestrationContext) -> object:
    later = functools.partial(ctx.schedule_activity, charge)
    return await later("ada")


async def named_alike(ctx: OrchestrationContext) -> object:
    async def charge(customer: str) -> str:
        return await ctx.schedule_activity("charge", customer)

    return [await charge("ada"), await other_shop.ship("x")]


async def hidden_by_a_parameter(ctx: OrchestrationContext, charge: Any) -> object:
    return charge("ada")


async def an_attribute_of_it(ctx: OrchestrationContext) -> str:
    return charge.__name__.upper()


@pytest.mark.parametrize(
    "function",
    [
        passed_on,
        passed_on_in_a_row,
        passed_on_and_called_with_its_arguments,
        passed_on_and_bound,
        named_alike,
        hidden_by_a_parameter,
        an_attribute_of_it,
    ],
)
def test_what_is_no_call_of_an_activity_is_let_through(function: Callable[..., Any]) -> None:
    assert refusal(function) is None


def test_the_message_has_the_line_and_what_to_write() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        await charge("ada")
        tick()

    line = flow.__code__.co_firstlineno
    assert refusal(flow) == (
        "orchestration 'flow' calls activities directly, which runs them in the orchestration"
        f" itself, again at every replay: 'charge' at {__file__}:{line + 1}, write `await"
        f" ctx.schedule_activity(charge, …)`; 'tick' at {__file__}:{line + 2}, write `await"
        " ctx.schedule_activity(tick)`; move what an orchestration may call into a function that"
        " is no activity"
    )


async def test_a_runtime_refuses_it_before_anything_runs() -> None:
    flows = Registry()

    @flows.orchestration
    async def flow(ctx: OrchestrationContext) -> str:
        return await charge("ada")

    async with perdure.open_provider("memory://") as provider:
        with pytest.raises(NondeterministicCode, match="'charge' at "):
            perdure.Runtime(provider, flows, app)
        # Where it is no activity, it is an ordinary function.
        perdure.Runtime(provider, flows)


class Opaque: ...


class Login(BaseModel):
    user: str
    password: SecretStr


class RevealingLogin(BaseModel):
    password: SecretStr

    @field_serializer("password")
    def reveal(self, password: SecretStr) -> str:
        return password.get_secret_value()


class LeftOut(BaseModel):
    name: str
    token: SecretStr | None = Field(default=None, exclude=True)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (SecretStr, "a secret is encoded as asterisks"),
        (Login, "a secret is encoded as asterisks"),
        (list[Login], "a secret is encoded as asterisks"),
        (SecretBytes | None, "a secret is encoded as asterisks"),
        (Opaque, "Unable to generate pydantic-core schema"),
        (Callable[[int], int], "a function cannot be stored"),
        (Iterable[int], "what can be iterated once cannot be stored; pass a list"),
    ],
)
def test_a_type_of_which_no_value_can_be_stored_is_refused_at_the_start(
    annotation: Any, words: str
) -> None:
    async def takes(ctx: OrchestrationContext, value: Any, more: int = 1) -> None: ...

    async def returns() -> Any: ...

    takes.__annotations__["value"] = annotation
    returns.__annotations__["return"] = annotation
    flows, work = Registry(), Registry()
    flows.orchestration(takes)
    work.activity(returns)

    place = f"{__file__}:{takes.__code__.co_firstlineno}"
    with pytest.raises(InvalidSignature, match=f"'takes' at {place} takes 'value' as .*{words}"):
        refuse_unstorable_types(Catalog([flows]))
    with pytest.raises(InvalidSignature, match=f"activity 'returns' at .* returns .*{words}"):
        refuse_unstorable_types(Catalog([work]))


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic reads them from 3.12 on")
def test_a_typed_dictionary_that_pydantic_cannot_read_is_refused_with_its_reason() -> None:
    class Place(TypedDict):
        street: str

    flows = Registry()

    @flows.orchestration
    async def deliver(ctx: OrchestrationContext, place: Place) -> None: ...

    with pytest.raises(InvalidSignature, match=r"Place: Please use `typing_extensions.TypedDict`"):
        refuse_unstorable_types(Catalog([flows]))


@pytest.mark.parametrize("annotation", [RevealingLogin, LeftOut, Any, None, object, list[int]])
def test_a_type_of_which_values_may_be_stored_is_taken(annotation: Any) -> None:
    async def takes(ctx: OrchestrationContext, value: Any) -> None: ...

    takes.__annotations__["value"] = annotation
    flows = Registry()
    flows.orchestration(takes)

    refuse_unstorable_types(Catalog([flows]))


def test_the_code_of_an_orchestration_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[CodeType] = []
    get_instructions = dis.get_instructions

    def counted(code: CodeType) -> Iterator[dis.Instruction]:
        read.append(code)
        return get_instructions(code)

    monkeypatch.setattr(dis, "get_instructions", counted)

    async def tells(ctx: OrchestrationContext) -> None:
        await asyncio.gather(*[ctx.schedule_activity(charge, name) for name in ("ada", "bob")])

    flows = Registry()
    flows.orchestration(tells)
    first = len(read)
    for _ in range(3):
        refuse_direct_calls(Catalog([flows]))

    assert first > 0
    assert len(read) == first


async def test_a_runtime_is_told_at_its_start_what_a_class_that_is_defined_later_lacks() -> None:
    flows = Registry()

    @dataclass
    class Parcel:
        content: Content

    @flows.orchestration
    async def send(ctx: OrchestrationContext, parcel: Parcel) -> None: ...

    async with perdure.open_provider("memory://") as provider:
        with pytest.raises(InvalidSignature, match="'send' at .* takes 'parcel' as Parcel"):
            perdure.Runtime(provider, flows)


@dataclass
class Content:
    secret: SecretStr
