"""Settings are converted or refused where they are made, with their name and what to pass."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import perdure
import pytest
from perdure import Exponential, Fixed, Linear, RetryPolicy, RuntimeOptions
from perdure.errors import ClientUnusable, InvalidInput, InvalidProviderOption, InvalidProviderUrl
from perdure.model.settings import to_items
from perdure_memory import MemoryOptions
from perdure_sqlite import SQLiteOptions, SQLiteProvider

NOT_DURATIONS = [True, "5", math.nan, math.inf, -1, timedelta(seconds=-1), 10**400, [5], Decimal(5)]
DURATIONS: list[tuple[type, str]] = [
    *((RuntimeOptions, name) for name in ("turn_lease", "activity_lease", "hold")),
    *((RuntimeOptions, name) for name in ("poll_interval", "unregistered_interval")),
    *((RuntimeOptions, name) for name in ("cleanup_timeout", "cancel_grace", "shutdown_grace")),
    (RuntimeOptions, "unregistered_timeout"),
    (RetryPolicy, "attempt_timeout"),
    (RetryPolicy, "total_timeout"),
    (Fixed, "interval"),
    *((Linear, name) for name in ("initial", "step", "maximum")),
    (Exponential, "initial"),
    (Exponential, "maximum"),
]


class Careless:
    """A backoff whose `delay` lacks the parameters."""

    def delay(self) -> float:
        return 1.0


class Later:
    """A backoff whose `delay` is to be awaited."""

    async def delay(self, attempt: int, random: object) -> float:
        return 1.0


@pytest.mark.parametrize(("kind", "name"), DURATIONS)
def test_a_number_for_a_duration_is_seconds(kind: type, name: str) -> None:
    assert getattr(kind(**{name: 5}), name) == timedelta(seconds=5)
    assert getattr(kind(**{name: 2.5}), name) == timedelta(milliseconds=2500)
    assert getattr(kind(**{name: timedelta(seconds=7)}), name) == timedelta(seconds=7)


@pytest.mark.parametrize(("kind", "name"), DURATIONS)
@pytest.mark.parametrize("value", NOT_DURATIONS, ids=lambda value: type(value).__name__)
def test_what_is_no_duration_is_refused_with_its_name(kind: type, name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"^{name} "):
        kind(**{name: value})


def test_every_duration_of_a_setting_is_tried_here() -> None:
    for kind in (RuntimeOptions, RetryPolicy, Fixed, Linear, Exponential):
        declared = {
            name for name, type_name in kind.__annotations__.items() if "timedelta" in type_name
        }

        assert declared <= {name for owner, name in DURATIONS if owner is kind}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RuntimeOptions(max_concurrent_turns=0), "max_concurrent_turns 0 is out of range"),
        (lambda: RuntimeOptions(activity_threads=2.0), "activity_threads 2.0 is not an integer"),
        (lambda: RuntimeOptions(cache_size=True), "cache_size True is not an integer"),
        (
            lambda: RuntimeOptions(cache_size=-1),
            "cache_size -1 is out of range; pass a whole number from 0",
        ),
        (lambda: RuntimeOptions(max_attempts="5"), "max_attempts '5' is not an integer"),
        (lambda: RuntimeOptions(trace_paths=1), "trace_paths 1 is neither True nor False"),
        (
            lambda: RuntimeOptions(turn_lease=0),
            "turn_lease 0 is out of range; pass more than zero and at most 0:05:00",
        ),
        (
            lambda: RuntimeOptions(poll_interval=0),
            "poll_interval 0 is out of range; pass more than zero and at most",
        ),
        (lambda: RuntimeOptions(tags="gpu"), "tags 'gpu' is not a collection"),
        (lambda: RuntimeOptions(tags=None), "tags None is not a collection"),
        (lambda: RuntimeOptions(tags={7}), "tag 7 is not a string"),
        (lambda: RuntimeOptions(tags={"\n"}), "control character"),
        (lambda: RuntimeOptions(tags=[]), "tags are empty"),
        (lambda: RetryPolicy(max_attempts=2.5), "max_attempts 2.5 is not an integer"),
        (lambda: RetryPolicy(max_attempts=True), "max_attempts True is not an integer"),
        (lambda: RetryPolicy(max_attempts=0), "max_attempts 0 is out of range"),
        (lambda: RetryPolicy(backoff=5), "backoff 5 is no backoff; pass an object such as Fixed"),
        (lambda: RetryPolicy(backoff=Fixed), "is no backoff; pass an object"),
        (lambda: RetryPolicy(non_retryable=OSError), "is not a collection; pass one, as in"),
        (lambda: RetryPolicy(non_retryable="OSError"), "non_retryable 'OSError' is not a coll"),
        (lambda: RetryPolicy(non_retryable=(OSError(),)), "is no class of exceptions"),
        (lambda: RetryPolicy(non_retryable=(int,)), "is no class of exceptions"),
        (lambda: RetryPolicy(retry_if=True), "retry_if True is not a function"),
        (
            lambda: RetryPolicy(retry_if=asyncio.sleep),
            "is an async function or a generator; pass a plain one",
        ),
        (lambda: Fixed(jitter=2), "jitter 2 is out of range; pass a number from 0 to 1"),
        (lambda: Fixed(jitter="0"), "jitter '0' is not a number"),
        (lambda: Linear(jitter=math.nan), "jitter nan is out of range"),
        (lambda: Exponential(factor=True), "factor True is not a number"),
        (lambda: Exponential(factor=0.5), "factor 0.5 is out of range"),
        (
            lambda: Exponential(factor=math.nan),
            "factor nan is out of range; pass a number from 1 to",
        ),
        (lambda: RetryPolicy(attempt_timeout=0), "attempt_timeout 0 is out of range; pass more"),
        (lambda: RetryPolicy(total_timeout=1e-9), "total_timeout 1e-09 is out of range; pass more"),
        (lambda: RetryPolicy(max_attempts=10**5000), "max_attempts <int> is out of range; pass a"),
        (lambda: RetryPolicy(non_retryable=("\ud800",)), "remove the surrogates"),
        (lambda: RetryPolicy(retry_if=ValueError), "is not a function; pass one, or leave it out"),
        (lambda: RetryPolicy(retry_if=lambda: True), "it is called with (failure), so let it take"),
        (
            lambda: RetryPolicy(backoff=Careless()),
            "has the parameters () -> 'float'; it is called with (attempt, random)",
        ),
        (lambda: RetryPolicy(backoff=Later()), "is an async function or a generator"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_and_value(
    make: Callable[[], object], words: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)):
        make()


def test_collections_of_any_kind_are_kept_as_they_are_declared() -> None:
    assert RuntimeOptions(tags=["gpu", None]).tags == frozenset({"gpu", None})  # type: ignore[arg-type]
    assert RetryPolicy(non_retryable=[OSError, "KeyError"]).non_retryable == (OSError, "KeyError")  # type: ignore[arg-type]
    assert to_items((each for each in "ab"), "names", example="('a',)") == ("a", "b")


async def test_a_backoff_of_ones_own_may_answer_in_seconds() -> None:
    class Mine:
        def delay(self, attempt: int, random: object) -> float:
            return 0.01 * attempt

    app = perdure.Registry()

    @app.activity
    async def flaky() -> int:
        if perdure.activity_context().attempt < 3:
            raise OSError
        return perdure.activity_context().attempt

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> int:
        policy = RetryPolicy(backoff=Mine(), attempt_timeout=5)  # type: ignore[arg-type]
        return await ctx.schedule_activity(flaky, retry=policy)

    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        handle = await perdure.Client(provider).start_orchestration("i", main)

        assert await handle.result(timeout=10) == 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda ctx: ctx.schedule_activity("a", retry=3), "retry 3 is not a RetryPolicy"),
        (lambda ctx: ctx.schedule_activity("a", tag=5), "tag 5 is not a string"),
        (lambda ctx: ctx.schedule_activity("a", result_type=7), "result_type of activity 'a'"),
        (lambda ctx: ctx.schedule_activity(5), "5 is not registered as an activity"),
        (lambda ctx: ctx.schedule_timer("5"), "delay '5' is not a duration"),
        (lambda ctx: ctx.schedule_timer(True), "delay True is not a duration"),
        (lambda ctx: ctx.schedule_timer(math.nan), "delay nan is out of range"),
        (lambda ctx: ctx.schedule_timer(-1), "delay -1 is out of range"),
        (lambda ctx: ctx.schedule_wait(5), "event name 5 is not a string"),
        (lambda ctx: ctx.schedule_wait("e", 7), "result_type of event 'e' cannot be 7"),
        (lambda ctx: ctx.schedule_sub_orchestration("o", instance=5), "instance id 5 is not"),
        (lambda ctx: ctx.schedule_sub_orchestration("o", version=1), "version 1 is not"),
        (lambda ctx: ctx.schedule_sub_orchestration("o", result_type=7), "result_type of orch"),
        (lambda ctx: ctx.schedule_orchestration("o", instance=""), "instance id '' is empty"),
        (lambda ctx: ctx.continue_as_new(None, version=1.0), "version 1.0 is not"),
    ],
)
async def test_wrong_arguments_of_the_context_are_refused_at_the_call(
    call: Callable[[perdure.OrchestrationContext], object], words: str
) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        try:
            call(ctx)
        except perdure.PerdureError as error:
            return str(error)
        return "accepted"

    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        handle = await perdure.Client(provider).start_orchestration("i", main)

        assert words in await handle.result(timeout=10)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda client: client.wait_for_orchestration("i", "5"), "timeout '5' is not a duration"),
        (lambda client: client.wait_for_orchestration("i", math.nan), "timeout nan is out of"),
        (lambda client: client.wait_for_orchestration("i", True), "timeout True is not a duration"),
        (lambda client: client.wait_for_orchestration_typed("i", 7), "result_type cannot be 7"),
        (lambda client: client.get_orchestration_status(5), "instance id 5 is not a string"),
        (lambda client: client.raise_event("i", b"e"), "event name b'e' is not a string"),
        (
            lambda client: client.raise_event("i", "e", {"a": 1}),
            "is of type dict, not JSON text; make it a text with json.dumps",
        ),
        (lambda client: client.raise_event("i", "e", event_id=5), "event id 5 is not a string"),
        (lambda client: client.cancel_instance("i", 5), "reason 5 is not a string"),
        (lambda client: client.list_all_instances(True), "page size True is out of range"),
        (lambda client: client.list_all_instances(None, 5), "token 5 is not a string"),
        (lambda client: client.list_instances_by_status("Gone"), "status 'Gone' is unknown"),
        (lambda client: client.get_execution_info("i", "1"), "execution '1' is not a number"),
        (lambda client: client.start_orchestration("i", 5), "5 is not registered"),
        (lambda client: client.start_orchestration_versioned("i", "o", 1), "version 1 is"),
    ],
)
async def test_wrong_arguments_of_the_client_are_refused(
    call: Callable[[perdure.Client], object], words: str
) -> None:
    async with perdure.open_provider("memory://") as provider:
        with pytest.raises(perdure.PerdureError, match=re.escape(words)):
            await call(perdure.Client(provider))  # type: ignore[misc]


async def test_a_runtime_takes_a_provider_and_registries() -> None:
    app = perdure.Registry()

    async def bare() -> None: ...

    async with perdure.open_provider("memory://") as provider:
        for arguments, words in (
            (("a://me:secret@host",), "is not a provider; open one with perdure.open_provider"),
            ((perdure.open_provider("memory://"), app), "is not a provider yet; enter it"),
            ((app,), "is not a provider"),
            ((provider, bare), "is not a Registry"),
            ((provider, [app]), "is not a Registry"),
        ):
            with pytest.raises(InvalidInput, match=words) as caught:
                perdure.Runtime(*arguments)
            assert "secret" not in str(caught.value)
        with pytest.raises(InvalidInput, match="options {} is not a RuntimeOptions"):
            perdure.Runtime(provider, app, options={})  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="plugins 7 is not a collection"):
            perdure.Runtime(provider, app, plugins=7)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="is not a provider yet"):
            perdure.Client(perdure.open_provider("memory://"))  # type: ignore[arg-type]


async def test_a_runtime_refuses_a_provider_that_cannot_be_used(tmp_path: Path) -> None:
    never_opened = SQLiteProvider(SQLiteOptions(path=tmp_path / "store.db"))
    async with perdure.open_provider("memory://") as closed:
        pass

    with pytest.raises(perdure.StorageFailed, match="is not open"):
        async with perdure.Runtime(never_opened):
            pytest.fail("it was entered")
    with pytest.raises(perdure.StorageClosed, match="is closed"):
        async with perdure.Runtime(closed):
            pytest.fail("it was entered")


async def test_a_runtime_refuses_a_provider_of_another_loop() -> None:
    async with perdure.open_provider("memory://") as provider:

        async def elsewhere() -> None:
            async with perdure.Runtime(provider):
                pytest.fail("it was entered")

        with pytest.raises(ClientUnusable, match="another event loop"):
            await asyncio.to_thread(asyncio.run, elsewhere())


def test_registering_refuses_what_is_no_registry_and_text_for_a_collection() -> None:
    app = perdure.Registry()

    with pytest.raises(InvalidInput, match="is not a Registry"):
        app.include("other")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"allow 'time\.time' is not a collection"):

        @app.orchestration(allow="time.time")
        async def one(ctx: perdure.OrchestrationContext) -> None: ...

    with pytest.raises(InvalidInput, match="allow 7 is not a str"):

        @app.orchestration(allow=[7])  # type: ignore[list-item]
        async def two(ctx: perdure.OrchestrationContext) -> None: ...


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda app: app.activity(5), "5 is not a function"),
        (lambda app: app.orchestration("flow"), "'flow' is not a function"),
        (lambda app: app.register_activity(5, name="a"), "5 is not a function"),
        (lambda app: app.activity(name=5)(print), "activity name 5 is not a string"),
        (lambda app: app.activity(cancel_grace="5")(print), "cancel_grace '5' is not a duration"),
        (lambda app: app.activity(compare="loud")(len), "compare 'loud' is unknown"),
    ],
)
def test_wrong_arguments_of_a_registration_are_refused(
    call: Callable[[perdure.Registry], object], words: str
) -> None:
    with pytest.raises(perdure.PerdureError, match=re.escape(words)):
        call(perdure.Registry())


def test_a_manual_clock_takes_seconds_and_refuses_what_is_no_time() -> None:
    clock = perdure.ManualClock()
    began = clock.now()

    clock.advance(90)
    clock.step_back(0.5)

    assert clock.now() - began == 89_500_000
    with pytest.raises(InvalidInput, match="duration '5' is not a duration"):
        clock.advance("5")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="pass an aware datetime"):
        perdure.ManualClock(datetime(2024, 1, 1))  # on purpose
    with pytest.raises(InvalidInput, match="pass an aware datetime"):
        perdure.ManualClock("2024")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("memory://name/", "a slash at the end"),
        ("memory:///", "has a path, which a memory store does not have"),
        ("sqlite:///orders.db/", "a slash at the end"),
        ("dynamodb://Table/", "a slash at the end"),
        ("memory://name?namespace=%00", "percent-encoded control character"),
        ("memory://na%0Ame", "percent-encoded control character"),
        ("sqlite:///a%07b.db", "percent-encoded control character"),
        ("memory://?name%00space=a", "percent-encoded control character"),
        ("sqlite:///a%FF.db", "not UTF-8"),
    ],
)
def test_a_url_is_refused_at_the_call(text: str, words: str) -> None:
    with pytest.raises(InvalidProviderUrl, match=words):
        perdure.open_provider(text)


def test_what_opens_a_provider_is_checked_at_the_call() -> None:
    with pytest.raises(InvalidProviderOption, match="namespace .* has the control character"):
        perdure.open_provider(MemoryOptions(namespace="a\x00"))
    with pytest.raises(InvalidProviderOption, match="shorten it to 512"):
        perdure.open_provider(MemoryOptions(namespace="a" * 600))
    with pytest.raises(InvalidInput, match="clock .* is not a Clock"):
        perdure.open_provider("memory://", clock=timedelta)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="plugins 'x' is not a collection"):
        perdure.open_provider("memory://", plugins="x")
    with pytest.raises(InvalidProviderOption, match="does not know"):
        perdure.open_provider("memory://?nmespace=a")
