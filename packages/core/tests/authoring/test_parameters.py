"""How the arguments of a call become a payload, and a payload the arguments of a call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from perdure import OrchestrationContext, Registry
from perdure.authoring.functions import activity_reference, orchestration_reference
from perdure.authoring.parameters import Parameters
from perdure.errors import InvalidPayload

app = Registry()


@dataclass
class Order:
    number: int


@app.activity
def none() -> None: ...


@app.activity
def one(order: Order) -> None: ...


@app.activity
def one_by_name(*, order: Order) -> None: ...


@app.activity
def one_with_default(cents: int = 500) -> None: ...


@app.activity
def one_or_none(cents: int | None = None) -> None: ...


@app.activity
def several(order: Order, cents: int = 500, *, due: date | None = None) -> None: ...


@app.activity
def all_optional(cents: int = 500, *, note: str = "") -> None: ...


@app.orchestration
async def flow(ctx: OrchestrationContext, /, order: Order, cents: Decimal) -> None: ...


def parameters(function: Any) -> Parameters:
    reference = activity_reference(function) or orchestration_reference(function)
    assert reference is not None
    return reference.parameters


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "payload", "decoded"),
    [
        (none, (), {}, None, ((), {})),
        (one, (Order(1),), {}, {"number": 1}, ((Order(1),), {})),
        (one, (), {"order": Order(1)}, {"number": 1}, ((Order(1),), {})),
        (one_by_name, (), {"order": Order(1)}, {"number": 1}, ((), {"order": Order(1)})),
        (one_with_default, (), {}, None, ((), {})),
        (one_with_default, (7,), {}, 7, ((7,), {})),
        (one_or_none, (None,), {}, None, ((), {})),
        (several, (Order(1),), {}, {"order": {"number": 1}}, ((), {"order": Order(1)})),
        (
            several,
            (Order(1), 7),
            {"due": date(2026, 1, 2)},
            {"order": {"number": 1}, "cents": 7, "due": "2026-01-02"},
            ((), {"order": Order(1), "cents": 7, "due": date(2026, 1, 2)}),
        ),
        (
            several,
            (),
            {"due": None, "order": Order(1)},
            {"order": {"number": 1}, "due": None},
            ((), {"order": Order(1), "due": None}),
        ),
        (all_optional, (), {}, {}, ((), {})),
        (
            flow,
            (Order(1), Decimal("0.10")),
            {},
            {"order": {"number": 1}, "cents": "0.10"},
            ((), {"order": Order(1), "cents": Decimal("0.10")}),
        ),
    ],
)
def test_a_call_is_stored_by_its_parameters_and_comes_back(
    function: Any,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    payload: object,
    decoded: Any,
) -> None:
    text = parameters(function).encode(args, kwargs, "it")

    assert json.loads(text) == payload
    assert parameters(function).decode(text, "it") == decoded


def test_the_order_of_the_arguments_does_not_show_in_the_payload() -> None:
    first = parameters(several).encode((), {"cents": 7, "order": Order(1)}, "it")

    assert first == parameters(several).encode((Order(1), 7), {}, "it")


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "words"),
    [
        (none, (1,), {}, "it takes no input, and 1 was passed; leave it out"),
        (none, (), {"order": 1}, "it takes no input, and order=1 was passed"),
        (
            one,
            (),
            {},
            r"it takes \(order\), and the call does not fit: missing a required .*'order'",
        ),
        (one, (1, 2), {}, "the call does not fit: too many positional arguments"),
        (one, ("x",), {}, "input of it of type 'str' cannot be encoded as Order"),
        (one_by_name, (Order(1),), {}, "the call does not fit: too many positional arguments"),
        (
            several,
            (Order(1),),
            {"pence": 1},
            r"it takes \(order, cents=…, \*, due=…\), .* unexpected keyword argument 'pence'",
        ),
        (several, (), {"cents": 1}, "missing a required argument: 'order'"),
        (several, (Order(1), "x"), {}, r"input of it .* cannot be encoded .*cents"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(
    function: Any, args: tuple[object, ...], kwargs: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidPayload, match=words):
        parameters(function).encode(args, kwargs, "it")


@pytest.mark.parametrize(
    ("function", "text", "decoded"),
    [
        (none, " null ", ((), {})),
        (one_with_default, "null", ((), {})),
        (all_optional, "null", ((), {})),
        (all_optional, "{}", ((), {})),
        (several, '{"cents": 1, "order": {"number": 1}}', ((), {"order": Order(1), "cents": 1})),
    ],
)
def test_a_payload_that_leaves_something_out_takes_the_defaults(
    function: Any, text: str, decoded: Any
) -> None:
    assert parameters(function).decode(text, "it") == decoded


@pytest.mark.parametrize(
    ("function", "text", "words"),
    [
        (none, '{"a": 1}', "it takes no input, and one was passed; leave it out"),
        (one, "null", "input of it does not fit Order"),
        (several, "null", r"does not fit \(order, cents, due\): \$.order: Field required"),
        (several, '{"order": {"number": 1}, "pence": 1}', "pence: Extra inputs are not permitted"),
        (several, '[{"number": 1}, 5]', "Input should be an object"),
        (several, '{"order": {"number": 1}, "cents": null}', "cents: Input should be a valid int"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused(function: Any, text: str, words: str) -> None:
    with pytest.raises(InvalidPayload, match=words):
        parameters(function).decode(text, "it")


@pytest.mark.parametrize(
    ("function", "payload", "text"),
    [
        (none, None, "null"),
        (one, Order(1), '{"number":1}'),
        (one_with_default, None, "null"),
        (all_optional, None, "null"),
        (several, {"order": Order(1), "cents": 3}, '{"order":{"number":1},"cents":3}'),
    ],
)
def test_a_payload_is_given_as_a_value_or_by_names(
    function: Any, payload: object, text: str
) -> None:
    assert parameters(function).encode_payload(payload, "it") == text


@pytest.mark.parametrize(
    ("function", "payload", "words"),
    [
        (none, 1, "it takes no input, and 1 was passed"),
        (one, None, "input of it of type 'NoneType' cannot be encoded as Order"),
        (several, {"cents": 3}, "order"),
        (several, {"order": Order(1), "pence": 3}, "pence"),
        (several, Order(1), "of type 'Order'"),
    ],
)
def test_a_payload_that_the_function_does_not_take_is_refused(
    function: Any, payload: object, words: str
) -> None:
    with pytest.raises(InvalidPayload, match=words):
        parameters(function).encode_payload(payload, "it")
