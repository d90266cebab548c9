"""Hostile values for every setting: each is refused where it is made, or kept as it is declared.

The tables say, for every setting, which of the values below it takes. Any other must be refused
with an error of Perdure whose message has the value, and so the range or what to pass.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import FunctionType
from typing import Any

import perdure
import pytest
from perdure import Exponential, Fixed, Linear, OrchestrationContext, RetryPolicy, RuntimeOptions
from perdure.model.shown import shown
from perdure_dynamodb import DynamoDBOptions
from perdure_memory import MemoryOptions
from perdure_sqlite import SQLiteOptions
from pydantic import BaseModel, ValidationError


class Plain:
    """Of a class, and no more."""


class Undescribable:
    """Even `repr` fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class WrongBackoff:
    """Its `delay` lacks the parameters."""

    def delay(self) -> timedelta:
        return timedelta(1)


class AsyncBackoff:
    """Its `delay` is to be awaited."""

    async def delay(self, attempt: int, random: object) -> timedelta:
        return timedelta(1)


class AsyncCallable:
    """Its call is to be awaited."""

    async def __call__(self, value: object) -> bool:
        return True


async def later(*values: object) -> bool:
    return True


def generates(value: object) -> Iterator[bool]:
    yield True


def takes_nothing() -> bool:
    return True


def takes_one(value: object) -> bool:
    return True


HOSTILE: dict[str, object] = {
    "None": None,
    "True": True,
    "False": False,
    "0": 0,
    "-1": -1,
    "1": 1,
    "10**5000": 10**5000,
    "1.5": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "text": "x",
    "digit": "5",
    "empty text": "",
    "surrogate": "\ud800",
    "NUL": "a\0b",
    "control": "a\nb",
    "600 characters": "x" * 600,
    "bytes": b"x",
    "list": [],
    "tuple": (),
    "dict": {},
    "set": set(),
    "[1]": [1],
    "['']": [""],
    "[surrogate]": ["\ud800"],
    "Decimal": Decimal(5),
    "no time": timedelta(0),
    "negative time": timedelta(-1),
    "a day": timedelta(1),
    "longest time": timedelta.max,
    "naive": datetime(2024, 1, 1),  # on purpose
    "aware": datetime(2024, 1, 1, tzinfo=UTC),
    "class": Plain,
    "error class": ValueError,
    "object": Plain(),
    "undescribable": Undescribable(),
    "async function": later,
    "async object": AsyncCallable(),
    "generator function": generates,
    "function of nothing": takes_nothing,
    "function of one": takes_one,
    "wrong backoff": WrongBackoff(),
    "async backoff": AsyncBackoff(),
}

NUMBERS = {"1", "1.5"}
DURATION = NUMBERS | {"0", "no time", "a day"}
POSITIVE = DURATION - {"0", "no time"}
LEASE = POSITIVE - {"a day"}
COUNT = {"1"}
SHARE = {"0", "1"}
FLAG = {"True", "False"}
COLLECTION = {"list", "tuple", "dict", "set"}
IDENTIFIER = {"text", "digit"}
NEVER: set[str] = set()

OPTIONS: dict[type, dict[str, set[str]]] = {
    RuntimeOptions: {
        "max_concurrent_turns": COUNT,
        "max_concurrent_activities": COUNT,
        "activity_threads": COUNT,
        "cache_size": COUNT | {"0"},
        "max_bytes_in_flight": COUNT,
        "turn_lease": LEASE,
        "activity_lease": LEASE,
        "hold": DURATION,
        "max_attempts": COUNT,
        "unregistered_timeout": DURATION | {"None"},
        "poll_interval": POSITIVE,
        "unregistered_interval": POSITIVE,
        "cleanup_timeout": DURATION,
        "cancel_grace": DURATION,
        "shutdown_grace": DURATION,
        "tags": NEVER,
        "compare": NEVER,
        "park_on": COLLECTION,
        "retention": {"None"},
        "trace_paths": FLAG,
    },
    RetryPolicy: {
        "max_attempts": COUNT | {"None"},
        "backoff": NEVER,
        "attempt_timeout": POSITIVE | {"None"},
        "total_timeout": POSITIVE | {"None"},
        "non_retryable": COLLECTION,
        "retry_if": {"None", "function of one"},
    },
    Fixed: {"interval": DURATION, "jitter": SHARE},
    Linear: {"initial": DURATION, "step": DURATION, "maximum": DURATION, "jitter": SHARE},
    Exponential: {
        "initial": DURATION,
        "factor": NUMBERS,
        "maximum": DURATION,
        "jitter": SHARE,
    },
}
PROVIDERS: dict[type[BaseModel], dict[str, set[str]]] = {
    MemoryOptions: {
        "name": IDENTIFIER | {"None", "bytes", "NUL", "control", "600 characters"},
        "namespace": IDENTIFIER | {"bytes"},
    },
    SQLiteOptions: {
        "path": IDENTIFIER | {"control", "600 characters"},
        "durability": NEVER,
        "namespace": IDENTIFIER | {"bytes"},
        "create": {"True", "False", "0", "1"},
        "busy_timeout": {"0", "1", "1.5", "digit", "Decimal"},
    },
    DynamoDBOptions: {
        "table": NEVER,
        "namespace": IDENTIFIER | {"bytes"},
        "region": {"None", "text", "digit", "bytes", "NUL", "control", "600 characters"},
        "endpoint_url": {"None"},
        "profile": {"None", "text", "digit", "bytes", "NUL", "control", "600 characters"},
        "access_key_id": {"None"},
        "secret_access_key": {"None"},
        "session_token": {"None"},
        "create_table": {"True", "False", "0", "1"},
        "direct": {"True", "False", "0", "1"},
        "shards": {"None", "1", "digit", "Decimal"},
    },
}
BASES: dict[type, dict[str, Any]] = {
    SQLiteOptions: {"path": "a.db"},
    DynamoDBOptions: {"table": "Table"},
}


PAGE = {"None", "1"}
ANY_CALL = dict[str, tuple[Callable[..., Any], set[str]]]

CLIENT: ANY_CALL = {
    "start: instance": (lambda c, v: c.start_orchestration(v, "o"), IDENTIFIER),
    "start: name": (lambda c, v: c.start_orchestration(_new(), v), IDENTIFIER),
    "raise: instance": (lambda c, v: c.raise_event(v, "e"), IDENTIFIER),
    "raise: name": (lambda c, v: c.raise_event("i", v), IDENTIFIER),
    "raise: event_id": (lambda c, v: c.raise_event("i", "e", event_id=v), IDENTIFIER | {"None"}),
    "cancel: instance": (lambda c, v: c.cancel_instance(v), IDENTIFIER),
    "cancel: reason": (
        lambda c, v: c.cancel_instance("i", v),
        IDENTIFIER | {"empty text", "NUL", "control", "600 characters"},
    ),
    "status: instance": (lambda c, v: c.get_orchestration_status(v), IDENTIFIER),
    "wait: instance": (lambda c, v: _at_once(c.wait_for_orchestration(v, 0)), IDENTIFIER),
    "wait: timeout": (
        lambda c, v: c.wait_for_orchestration("ended", v),
        DURATION | {"None"},
    ),
    "list: page_size": (lambda c, v: c.list_all_instances(v), PAGE),
    "list: token": (lambda c, v: c.list_all_instances(None, v), {"None"}),
    "list: status": (lambda c, v: c.list_instances_by_status(v), NEVER),
    "info: instance": (lambda c, v: _found(c.get_instance_info(v)), IDENTIFIER),
    "executions: instance": (lambda c, v: _found(c.list_executions(v)), IDENTIFIER),
    "execution: number": (lambda c, v: c.get_execution_info("ended", v), {"1"}),
    "history: number": (lambda c, v: c.read_execution_history("ended", v), {"1"}),
}
CONTEXT: ANY_CALL = {
    "activity": (lambda c, v: c.schedule_activity(v), IDENTIFIER),
    "activity: retry": (lambda c, v: c.schedule_activity("a", retry=v), {"None"}),
    "activity: tag": (lambda c, v: c.schedule_activity("a", tag=v), IDENTIFIER | {"None"}),
    "activity: cancellation": (lambda c, v: c.schedule_activity("a", cancellation=v), NEVER),
    "activity: result_type": (
        lambda c, v: c.schedule_activity("a", result_type=v),
        {"None"},
    ),
    "timer": (lambda c, v: c.schedule_timer(v), DURATION | {"aware"}),
    "wait: name": (lambda c, v: c.schedule_wait(v), IDENTIFIER),
    "wait: type": (lambda c, v: c.schedule_wait("e", v), {"None"}),
    "wait: on_invalid": (lambda c, v: c.schedule_wait("e", on_invalid=v), NEVER),
    "child": (lambda c, v: c.schedule_sub_orchestration(v), IDENTIFIER),
    "child: instance": (
        lambda c, v: c.schedule_sub_orchestration("o", instance=v),
        IDENTIFIER | {"None"},
    ),
    "child: version": (lambda c, v: c.schedule_sub_orchestration("o", version=v), {"None"}),
    "detached": (lambda c, v: c.schedule_orchestration(v), IDENTIFIER),
    "detached: instance": (
        lambda c, v: c.schedule_orchestration("o", instance=v),
        IDENTIFIER | {"None"},
    ),
}
OTHERS: ANY_CALL = {
    "activity: name": (
        lambda v: perdure.Registry().activity(name=v)(_new_activity()),
        IDENTIFIER | {"None"},
    ),
    "activity: compare": (
        lambda v: perdure.Registry().activity(compare=v)(_new_activity()),
        {"None"},
    ),
    "activity: cancel_grace": (
        lambda v: perdure.Registry().activity(cancel_grace=v),
        DURATION | {"None"},
    ),
    "orchestration: version": (
        lambda v: perdure.Registry().orchestration(version=v)(_new_orchestration()),
        NEVER,
    ),
    "orchestration: allow": (
        lambda v: perdure.Registry().orchestration(allow=v)(_new_orchestration()),
        COLLECTION | {"['']", "[surrogate]"},
    ),
    "orchestration: compare": (
        lambda v: perdure.Registry().orchestration(compare=v)(_new_orchestration()),
        {"None"},
    ),
    "orchestration: park_on": (
        lambda v: perdure.Registry().orchestration(park_on=v)(_new_orchestration()),
        COLLECTION,
    ),
    "Registry: replace": (lambda v: perdure.Registry(replace=v), FLAG),
    "activity: function": (
        lambda v: perdure.Registry().activity(_copy(v)),
        {"None", "function of nothing", "function of one"},
    ),
    "orchestration: function": (lambda v: perdure.Registry().orchestration(v), {"None"}),
    "include": (lambda v: perdure.Registry().include(v), NEVER),
    "Client: provider": (perdure.Client, NEVER),
    "open_provider: clock": (lambda v: perdure.open_provider("memory://", clock=v), {"None"}),
    "open_provider: plugins": (
        lambda v: perdure.open_provider("memory://", plugins=v),
        COLLECTION,
    ),
    "installed_plugins": (perdure.installed_plugins, NEVER),
    "ManualClock: start": (perdure.ManualClock, {"None", "aware"}),
    "ManualClock: advance": (lambda v: perdure.ManualClock().advance(v), DURATION),
    "ManualClock: step_back": (lambda v: perdure.ManualClock().step_back(v), DURATION),
    "RetryAfter": (perdure.RetryAfter, DURATION),
}
RUNTIME: ANY_CALL = {
    "provider": (lambda p, v: perdure.Runtime(v), NEVER),
    "registries": (lambda p, v: perdure.Runtime(p, v), NEVER),
    "options": (lambda p, v: perdure.Runtime(p, options=v), {"None"}),
    "plugins": (lambda p, v: perdure.Runtime(p, plugins=v), COLLECTION),
}
_COUNTER = itertools.count()


def _copy(value: object) -> Any:
    """Another function of the same code: registering one marks it."""
    is_function = isinstance(value, FunctionType)
    return FunctionType(value.__code__, globals(), value.__name__) if is_function else value


def _new() -> str:
    return f"new {next(_COUNTER)}"


def _new_activity() -> Callable[[], None]:
    def activity() -> None: ...

    return activity


def _new_orchestration() -> Callable[..., Awaitable[None]]:
    async def orchestration(ctx: OrchestrationContext) -> None: ...

    return orchestration


async def _at_once(waiting: Awaitable[object]) -> None:
    with pytest.raises(perdure.WaitTimeout):
        await waiting


async def _found(looking: Awaitable[object]) -> None:
    with pytest.raises(perdure.InstanceNotFound):
        await looking


def what_is_shown(value: object) -> Iterator[str]:
    """The texts of which the message of a refusal has one."""
    yield shown(value)[:50].removeprefix("<")
    if isinstance(value, timedelta):
        yield str(value) if value >= timedelta(0) else "-86400 s"
    elif isinstance(value, str):
        yield repr(value[:40])
    elif isinstance(value, list | tuple | set | dict):
        yield "are empty" if not value else shown(next(iter(value)))
    else:
        yield getattr(value, "__name__", type(value).__name__)


async def accepted_of(make: Callable[[Any], object]) -> set[str]:
    """Which of the hostile values are taken; any other is refused with the value."""
    accepted: set[str] = set()
    for name, value in HOSTILE.items():
        try:
            made = make(value)
            if inspect.isawaitable(made) and not isinstance(made, asyncio.Future):
                await made
        except perdure.PerdureError as error:
            if not any(text in str(error) for text in what_is_shown(value)):
                raise AssertionError(f"{name} is not shown") from error
        else:
            accepted.add(name)
    return accepted


@pytest.mark.parametrize(
    ("kind", "setting"), [(kind, name) for kind, table in OPTIONS.items() for name in table]
)
async def test_a_setting_takes_its_own_values_and_refuses_others_with_the_value(
    kind: type, setting: str
) -> None:
    assert await accepted_of(lambda value: kind(**{setting: value})) == OPTIONS[kind][setting]


@pytest.mark.parametrize(
    ("kind", "option"), [(kind, name) for kind, table in PROVIDERS.items() for name in table]
)
def test_an_option_of_a_provider_takes_its_own_values(kind: type[BaseModel], option: str) -> None:
    accepted: set[str] = set()
    told: dict[str, str] = {}
    for name, value in HOSTILE.items():
        try:
            perdure.open_provider(kind(**{**BASES.get(kind, {}), option: value}))
        except (ValidationError, perdure.InvalidProviderOption) as error:
            told[name] = str(error)
        else:
            accepted.add(name)

    assert accepted == PROVIDERS[kind][option]
    assert all(option in text for text in told.values())


@pytest.mark.parametrize(
    ("kind", "option"), [(kind, name) for kind, table in PROVIDERS.items() for name in table]
)
def test_an_option_in_a_url_is_refused_at_the_call(kind: type, option: str) -> None:
    scheme = kind.__name__.removesuffix("Options").lower()
    target = {"memory": "", "sqlite": "/a.db", "dynamodb": "Table"}[scheme]

    with pytest.raises(perdure.ProviderLoadError, match=option):
        perdure.open_provider(f"{scheme}://{target}?{option}=")


@pytest.mark.parametrize("kind", [*OPTIONS, *PROVIDERS], ids=lambda kind: kind.__name__)
def test_every_setting_is_in_the_tables(kind: type) -> None:
    table = OPTIONS.get(kind) or PROVIDERS[kind]

    assert list(inspect.signature(kind).parameters) == list(table)


@pytest.mark.parametrize("name", OTHERS)
async def test_an_argument_takes_its_own_values(name: str) -> None:
    call, taken = OTHERS[name]

    assert await accepted_of(call) == taken


@pytest.mark.parametrize("name", RUNTIME)
async def test_an_argument_of_a_runtime_takes_its_own_values(name: str) -> None:
    call, taken = RUNTIME[name]
    async with perdure.open_provider("memory://") as provider:
        assert await accepted_of(lambda value: call(provider, value)) == taken


@pytest.mark.parametrize("name", CLIENT)
async def test_an_argument_of_the_client_takes_its_own_values(name: str) -> None:
    call, taken = CLIENT[name]
    app = perdure.Registry()

    @app.orchestration
    async def ended(ctx: OrchestrationContext) -> None: ...

    async with perdure.open_provider("memory://") as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, app):
            await client.start_orchestration("ended", ended)
            await client.wait_for_orchestration("ended", 5)

        assert await accepted_of(lambda value: call(client, value)) == taken


@pytest.mark.parametrize("name", CONTEXT)
async def test_an_argument_of_the_context_takes_its_own_values(name: str) -> None:
    call, taken = CONTEXT[name]
    app = perdure.Registry()
    accepted: set[str] = set()

    @app.orchestration
    async def main(ctx: OrchestrationContext) -> None:
        accepted.update(await accepted_of(lambda value: call(ctx, value)))

    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        handle = await perdure.Client(provider).start_orchestration("i", main)
        await handle.result(timeout=5)

    assert accepted == taken
