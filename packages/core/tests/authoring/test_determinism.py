"""What is found in the code of an orchestration, and what is left alone."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime
import datetime as dt
import functools
import os
import random
import socket
import subprocess
import threading
import time
import time as clock
import uuid
from collections.abc import Callable
from datetime import date
from datetime import datetime as moment
from os import environ
from random import choice
from time import time as right_now
from types import ModuleType

import pytest
from perdure import OrchestrationContext, Registry
from perdure.authoring.determinism import find_nondeterminism
from perdure.errors import NondeterministicCode

registry = Registry()
alias = time
now_as_a_name = moment.now
seeded = random.Random(7)


def module_function(ctx: object) -> object:
    return time.time()


def import_of_the_module(ctx: object) -> object:
    return time.time()


def import_under_another_name(ctx: object) -> object:
    return clock.monotonic()


def import_from(ctx: object) -> object:
    return right_now()


def alias_of_the_module(ctx: object) -> object:
    return alias.time_ns()


def alias_of_the_function(ctx: object) -> object:
    return now_as_a_name()


def import_inside(ctx: object) -> object:
    import time

    return time.perf_counter()


def import_inside_under_another_name(ctx: object) -> object:
    import time as inner

    return inner.time()


def import_from_inside(ctx: object) -> object:
    from time import monotonic_ns

    return monotonic_ns()


def import_from_inside_under_another_name(ctx: object) -> object:
    from datetime import date as day
    from datetime import datetime as instant

    return day, instant.utcnow()


def import_of_a_submodule_inside(ctx: object) -> object:
    import concurrent.futures

    return concurrent.futures.ThreadPoolExecutor()


def local_variable(ctx: object) -> object:
    module = time
    return module.time()


def method_chain(ctx: object) -> object:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def method_chain_of_an_imported_class(ctx: object) -> object:
    return moment.now().year


def class_method(ctx: object) -> object:
    return date.today()


def another_name_of_the_module(ctx: object) -> object:
    return dt.datetime.today()


def nested_function(ctx: object) -> object:
    def inner() -> float:
        def innermost() -> float:
            return time.time()

        return innermost()

    return inner()


def nested_function_with_an_import_around(ctx: object) -> object:
    import time as outer

    def inner() -> float:
        return outer.time()

    return inner()


def lambda_function(ctx: object) -> object:
    return (lambda: time.time())()


def comprehension(ctx: object) -> object:
    return [random.random() for _ in range(3)]


def generator_expression(ctx: object) -> object:
    return sum(choice((1, 2)) for _ in range(3))


def class_body(ctx: object) -> object:
    class Inner:
        made = time.time()

    return Inner


def default_argument(ctx: object) -> object:
    def inner(at: float = time.time()) -> float:
        return at

    return inner()


def passed_on(ctx: object) -> object:
    return sorted([1, 2], key=lambda _: 0, reverse=bool(map(random.random, [])))


def keyword_argument(ctx: object) -> object:
    return str(object=uuid.uuid4())


def f_string(ctx: object) -> object:
    return f"{uuid.uuid1()}"


def method_of_the_hidden_generator(ctx: object) -> object:
    return random.shuffle([1, 2])


def system_random(ctx: object) -> object:
    return random.SystemRandom().random()


def secret(ctx: object) -> object:
    import secrets

    return secrets.token_hex()


def operating_system(ctx: object) -> object:
    return os.urandom(4)


def environment(ctx: object) -> object:
    return os.environ["HOME"]


def environment_by_name(ctx: object) -> object:
    return environ.get("HOME")


def environment_by_function(ctx: object) -> object:
    return os.getenv("HOME")


def files(ctx: object) -> object:
    with open("file") as file:
        return file.read()


def keyboard(ctx: object) -> object:
    return input()


def hash_of_text(ctx: object) -> object:
    return hash("text")


def address(ctx: object) -> object:
    return id(ctx)


def blocking_sleep(ctx: object) -> object:
    time.sleep(1)
    return None


def thread(ctx: object) -> object:
    return threading.Thread(target=print)


def executor(ctx: object) -> object:
    return concurrent.futures.ThreadPoolExecutor()


def process(ctx: object) -> object:
    return subprocess.run(["/bin/true"], check=True)


def network(ctx: object) -> object:
    return socket.create_connection(("host", 1))


def thread_of_asyncio(ctx: object) -> object:
    return asyncio.to_thread(print)


def process_of_asyncio(ctx: object) -> object:
    return asyncio.create_subprocess_exec("true")


def all_tasks(ctx: object) -> object:
    return asyncio.all_tasks()


FOUND: list[tuple[Callable[..., object], str]] = [
    (import_of_the_module, "time.time"),
    (import_under_another_name, "time.monotonic"),
    (import_from, "time.time"),
    (alias_of_the_module, "time.time_ns"),
    (alias_of_the_function, "datetime.datetime.now"),
    (import_inside, "time.perf_counter"),
    (import_inside_under_another_name, "time.time"),
    (import_from_inside, "time.monotonic_ns"),
    (import_from_inside_under_another_name, "datetime.datetime.utcnow"),
    (import_of_a_submodule_inside, "concurrent.futures.thread.ThreadPoolExecutor"),
    (local_variable, "time.time"),
    (method_chain, "datetime.datetime.now"),
    (method_chain_of_an_imported_class, "datetime.datetime.now"),
    (class_method, "datetime.date.today"),
    (another_name_of_the_module, "datetime.datetime.today"),
    (nested_function, "time.time"),
    (nested_function_with_an_import_around, "time.time"),
    (lambda_function, "time.time"),
    (comprehension, "random.random"),
    (generator_expression, "random.choice"),
    (class_body, "time.time"),
    (default_argument, "time.time"),
    (passed_on, "random.random"),
    (keyword_argument, "uuid.uuid4"),
    (f_string, "uuid.uuid1"),
    (method_of_the_hidden_generator, "random.shuffle"),
    (system_random, "random.SystemRandom"),
    (secret, "secrets.token_hex"),
    (operating_system, "os.urandom"),
    (environment, "os.environ"),
    (environment_by_name, "os.environ"),
    (environment_by_function, "os.getenv"),
    (files, "io.open"),
    (keyboard, "builtins.input"),
    (hash_of_text, "builtins.hash"),
    (address, "builtins.id"),
    (blocking_sleep, "time.sleep"),
    (thread, "threading.Thread"),
    (executor, "concurrent.futures.thread.ThreadPoolExecutor"),
    (process, "subprocess.run"),
    (network, "socket.create_connection"),
    (thread_of_asyncio, "asyncio.to_thread"),
    (process_of_asyncio, "asyncio.create_subprocess_exec"),
    (all_tasks, "asyncio.all_tasks"),
]


@pytest.mark.parametrize(
    ("function", "name"), FOUND, ids=lambda case: getattr(case, "__name__", "")
)
def test_each_form_of_use_is_found_once(function: Callable[..., object], name: str) -> None:
    (finding,) = find_nondeterminism(function)

    assert finding.name == name
    assert finding.instead
    assert finding.file == __file__
    code = function.__code__
    assert code.co_firstlineno < finding.line <= code.co_firstlineno + 7


@registry.activity
async def reads_the_clock(name: str) -> float:
    return time.time()


class Settings:
    """A value whose attributes run code."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} was read")


settings = Settings()


async def parameters(ctx: OrchestrationContext, time: Settings) -> object:
    return time.time


async def parameters_in_a_nested_function(ctx: OrchestrationContext, time: Settings) -> object:
    def inner() -> object:
        return time.time

    return inner


async def locals_of_the_same_name(ctx: OrchestrationContext) -> object:
    random = ctx.random()
    uuid = ctx.uuid4()

    def inner() -> object:
        return uuid.hex

    return random.random(), inner()


async def a_loop_variable(ctx: OrchestrationContext) -> object:
    return [time.isoformat() for time in [ctx.now()]]


async def an_activity_inside(ctx: OrchestrationContext) -> object:
    return await ctx.schedule_activity(reads_the_clock, "x")


async def the_context(ctx: OrchestrationContext) -> object:
    return ctx.now(), ctx.uuid4(), ctx.random().random()


async def a_seeded_generator(ctx: OrchestrationContext) -> object:
    return random.Random(5).random(), seeded.random()


async def what_is_harmless_in_these_modules(ctx: OrchestrationContext) -> object:
    delta = datetime.timedelta(seconds=1)
    moment_of_text = datetime.datetime.fromisoformat("2030-01-01")
    known = uuid.uuid5(uuid.NAMESPACE_URL, "x"), uuid.UUID(int=1)
    return os.path.join("a", "b"), os.sep, delta, moment_of_text, known, date(2030, 1, 1)


async def errors_of_these_modules(ctx: OrchestrationContext) -> object:
    try:
        await asyncio.sleep(1)
    except (subprocess.CalledProcessError, socket.gaierror, concurrent.futures.TimeoutError):
        return None
    return isinstance(ctx, ModuleType)


async def text_that_looks_like_names(ctx: OrchestrationContext) -> object:
    return "open", "time.time", {"input": "id"}, getattr(ctx, "hash", None)


async def attributes_of_values(ctx: OrchestrationContext) -> object:
    return settings.time.time


async def asyncio_itself(ctx: OrchestrationContext) -> object:
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1))
    return asyncio.get_running_loop().time()


async def printing(ctx: OrchestrationContext) -> None:
    print("harmless, though repeated")


@pytest.mark.parametrize(
    "function",
    [
        parameters,
        parameters_in_a_nested_function,
        locals_of_the_same_name,
        a_loop_variable,
        an_activity_inside,
        the_context,
        a_seeded_generator,
        what_is_harmless_in_these_modules,
        errors_of_these_modules,
        text_that_looks_like_names,
        attributes_of_values,
        asyncio_itself,
        printing,
    ],
)
def test_what_is_harmless_is_left_alone(function: Callable[..., object]) -> None:
    assert find_nondeterminism(function) == ()


def test_several_uses_are_found_in_the_order_of_the_code() -> None:
    def several(ctx: object) -> object:
        first = time.time()
        return first, uuid.uuid4(), time.time()

    found = find_nondeterminism(several)

    assert [finding.name for finding in found] == ["time.time", "uuid.uuid4", "time.time"]


def test_the_function_inside_a_decorated_one_is_read_too() -> None:
    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def wrapper(*arguments: object) -> object:
            return function(*arguments)

        return wrapper

    assert [f.name for f in find_nondeterminism(decorate(files))] == ["io.open"]


def test_methods_and_callable_objects_are_read() -> None:
    class Flow:
        def method(self, ctx: object) -> object:
            return time.time()

        def __call__(self, ctx: object) -> object:
            return uuid.uuid4()

    assert [f.name for f in find_nondeterminism(Flow().method)] == ["time.time"]
    assert [f.name for f in find_nondeterminism(Flow())] == ["uuid.uuid4"]


def test_a_use_is_allowed_by_its_name_or_by_its_module() -> None:
    assert find_nondeterminism(import_from, allow=["time.time"]) == ()
    assert find_nondeterminism(comprehension, allow=["random"]) == ()
    assert find_nondeterminism(import_from, allow=["time.time_ns", "tim"]) != ()


def test_registration_refuses_with_the_line_and_what_to_use_instead() -> None:
    async def flow(ctx: OrchestrationContext) -> float:
        return time.time()

    line = flow.__code__.co_firstlineno + 1
    with pytest.raises(NondeterministicCode) as caught:
        Registry().orchestration(flow)
    assert str(caught.value) == (
        f"orchestration 'flow' uses what differs in replay: time.time at {__file__}:{line}, use"
        " ctx.now(); or allow it knowingly with allow=['time.time']"
    )
    Registry().orchestration(allow=["time.time"])(flow)
