"""What the operator's guide says of each case holds when the case happens to an order."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure.contract import DelegatingProvider
from perdure.errors import StorageUnavailable
from perdure.testing import Stage
from perdure_console import main as command_line

from .shop import ORDER, SHIPPED, Shop, director, edition, operating, order, orders


@pytest.mark.slow
async def test_an_edit_that_does_not_fit_parks_orders_until_it_is_undone(tmp_path) -> None:
    async def charge_first(
        ctx: perdure.OrchestrationContext, order: orders.Order
    ) -> orders.Outcome:
        payment = orders.Task(order=order.number, cents=order.cents)
        await ctx.schedule_activity(orders.charge, payment, retry=orders.TRY_AGAIN)
        return orders.Outcome(state="shipped", note="")

    shop = Shop(tmp_path)
    async with shop.open() as stage:
        await stage.client.start_orchestration("o-1", orders.process_order, order())
        await stage.settle()

    async with shop.open(edition(charge_first)) as stage:
        await director.approve(stage.client, "o-1")
        await stage.settle()
        status = await stage.client.get_orchestration_status("o-1")
    assert isinstance(status, perdure.Running)
    assert status.parked is not None
    assert status.parked.reason == "nondeterminism"
    assert "'reserve'" in str(status.parked.details)

    async with shop.open() as stage:
        outcome = await stage.client.wait_for_orchestration_typed("o-1", orders.Outcome)
    assert outcome.state == "shipped"
    assert shop.left() == SHIPPED


@pytest.mark.slow
async def test_a_slip_in_the_code_parks_orders_with_nothing_undone_until_it_is_repaired(
    tmp_path, monkeypatch
) -> None:
    shop = Shop(tmp_path)
    async with shop.open() as stage:
        await stage.client.start_orchestration("o-1", orders.process_order, order())
        await stage.settle()

    async with shop.open() as stage:
        with monkeypatch.context() as deployed:
            deployed.delattr(orders, "call_back")  # a name that the code goes on to use
            await director.approve(stage.client, "o-1")
            await stage.settle()
            await stage.advance(1)  # the packing
            await stage.settle()
            status = await stage.client.get_orchestration_status("o-1")
    assert isinstance(status, perdure.Running)
    assert status.parked is not None
    assert status.parked.reason == "raised"
    assert "NameError" in str(status.parked.details)
    assert shop.left() == SHIPPED - Counter(["courier Lisbon"])

    async with shop.open() as stage:
        outcome = await stage.client.wait_for_orchestration_typed("o-1", orders.Outcome)
    assert outcome.state == "shipped"
    assert shop.left() == SHIPPED


@pytest.mark.slow
@pytest.mark.parametrize("early", [False, True], ids=["in time", "early"])
async def test_orders_that_wrong_code_packs_for_too_long_go_back_to_before_that(
    tmp_path, early
) -> None:
    async def packs_for_a_year(
        ctx: perdure.OrchestrationContext, order: orders.Order
    ) -> orders.Outcome:
        slow = order.model_copy(update={"packing_seconds": 3e7})
        return await orders.process_order(ctx, slow)

    shop = Shop(tmp_path)
    async with shop.open(edition(packs_for_a_year), skip=False) as stage:
        await stage.client.start_orchestration("o-1", packs_for_a_year, order())
        if early:
            await director.approve(stage.client, "o-1")
        await stage.settle()
        await stage.advance(1)  # the pause before the second attempt of the charge
        await stage.settle()
        if not early:
            await director.approve(stage.client, "o-1")
            await stage.settle()

    async with shop.open() as stage:
        await operating.pack_again(stage.client, "o-1", "the code packed for a year")
        outcome = await stage.client.wait_for_orchestration_typed("o-1", orders.Outcome)

    assert stage.elapsed < timedelta(hours=1)
    assert outcome.state == "shipped"
    assert shop.left() == SHIPPED
    assert len(shop.outside.requests("o-1", "charge")) == 1


@pytest.mark.slow
async def test_a_restored_file_continues_orders_and_the_bank_knows_their_keys(tmp_path) -> None:
    shop = Shop(tmp_path)
    copy = tmp_path / "copy.db"
    async with shop.open() as stage:
        handle = await stage.client.start_orchestration("o-1", orders.process_order, order())
        await stage.settle()
        await asyncio.to_thread(operating.back_up, shop.file, copy)
        await director.approve(stage.client, "o-1")
        assert (await handle.result()).state == "shipped"

    operating.restore(copy, shop.file)
    async with shop.open() as stage:
        await stage.settle()
        assert await stage.client.get_orchestration_status("o-1") == perdure.Running()
        await director.approve(stage.client, "o-1")  # it was raised after the backup
        outcome = await stage.client.wait_for_orchestration_typed("o-1", orders.Outcome)

    assert outcome.state == "shipped"
    assert shop.left() == SHIPPED
    asked = shop.outside.requests("o-1", "courier")
    assert [request.booked for request in asked] == [True, False]


@pytest.mark.slow
async def test_a_retention_deletes_orders_that_ended_long_ago_with_their_children(tmp_path) -> None:
    kept = perdure.Retention(completed=timedelta(days=30), every=timedelta(hours=1))
    shop = Shop(tmp_path)
    async with shop.open(options=perdure.RuntimeOptions(retention=kept)) as stage:
        handle = await stage.client.start_orchestration("o-1", orders.process_order, order())
        await director.approve(stage.client, "o-1")
        await handle.result()
        tree = await stage.client.get_instance_tree("o-1")
        await stage.advance(timedelta(days=30))
        await stage.client.start_orchestration("o-2", orders.process_order, order())
        await until(lambda: is_gone(stage, "o-1"))

        assert [len(list(tree.walk())), await names(stage.client)] == [2, ["o-2"]]


async def is_gone(stage: Stage, instance: str) -> bool:
    await stage.advance(timedelta(minutes=30))
    await stage.settle()
    return await stage.client.get_orchestration_status(instance) == perdure.NotFound()


async def names(client: perdure.Client) -> list[str]:
    return [info.instance for info in await client.list_instances()]


@pytest.mark.slow
async def test_orders_wait_while_the_storage_is_throttled_and_no_attempt_is_counted(
    tmp_path,
) -> None:
    shop = Shop(tmp_path)
    async with perdure.open_provider(f"sqlite:///{shop.file}") as inner:
        provider = Throttled(inner)
        async with perdure.Runtime(provider, orders.app, resources=shop.around()) as runtime:
            client = perdure.Client(inner)
            await client.start_orchestration("o-1", orders.process_order, order())
            await until(lambda: waits_for_approval(client))
            provider.is_throttled = True
            await director.approve(client, "o-1")
            await until(lambda: says(not runtime.healthy))
            error = runtime.statistics.last_error
            status = await client.get_orchestration_status("o-1")
            provider.is_throttled = False
            outcome = await client.wait_for_orchestration_typed("o-1", orders.Outcome, 60)
            await until(lambda: says(runtime.healthy))

    assert error is not None
    assert "throttled" in error.message
    assert status == perdure.Running()
    assert outcome.state == "shipped"
    assert shop.left() == SHIPPED


class Throttled(DelegatingProvider):
    is_throttled = False

    async def around(self, operation, call):
        if self.is_throttled:
            raise StorageUnavailable("the table is throttled", operation=operation)
        return await call()


async def waits_for_approval(client: perdure.Client) -> bool:
    events = await client.read_execution_history("o-1", 1)
    return any(event.kind == "WaitCreated" for event in events)


async def says(holds: bool) -> bool:
    return holds


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 # what is waited for is in the storage
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_an_order_that_ended_its_process_each_time_runs_on_when_its_code_is_mended(
    tmp_path,
) -> None:
    shop = Shop(tmp_path)
    await asyncio.to_thread(crash_until_it_is_given_up, shop)

    async with shop.open() as stage:
        await stage.client.retry_instance("o-1", reason="its code is mended")
        await director.approve(stage.client, "o-1")
        outcome = await stage.client.wait_for_orchestration_typed("o-1", orders.Outcome)

    assert outcome.state == "shipped"
    assert shop.left() == SHIPPED


def crash_until_it_is_given_up(shop: Shop) -> None:
    crashes = 0
    words = [sys.executable, str(CRASHING), str(shop.file), str(shop.file.with_name("outside.db"))]
    with perdure.BlockingClient.open(f"sqlite:///{shop.file}") as client:
        client.start_orchestration("o-1", orders.process_order, order())
        while not isinstance(status := client.get_orchestration_status("o-1"), perdure.Failed):
            worker = subprocess.Popen(words)
            try:
                while worker.poll() is None and not ended(client):
                    time.sleep(0.02)
                crashes += worker.poll() == 1
            finally:
                worker.kill()
                worker.wait()

        assert isinstance(status.details, perdure.ApplicationFailure)
        assert isinstance(status.details.kind, perdure.Poisoned)
        assert 1 < crashes < 6


CRASHING = Path(__file__).with_name("crashing_worker.py")


def ended(client: perdure.BlockingClient) -> bool:
    return not isinstance(client.get_orchestration_status("o-1"), perdure.Running)


GUIDE = Path(__file__).parents[3] / "docs" / "operate"
COMMAND = re.compile(
    r"(?<![\w`/])`?(perdure (?:list|show|retry|delete|check)(?: [^`\n]+)? --url sqlite:[^`\n]+)"
)


def commands_of(page: str) -> list[str]:
    """The commands that a page gives for the orders."""
    return COMMAND.findall((GUIDE / page).read_text("utf-8"))


def words_of(command: str) -> list[str]:
    """Without the name of the program; there is no terminal to ask on."""
    words = shlex.split(command)[1:]
    return [*words, "--yes"] if words[0] == "delete" else words


@pytest.mark.slow
@pytest.mark.parametrize("page", ["operators-guide.md", "watching.md"])
async def test_every_command_of_the_guide_does_something(page, tmp_path, monkeypatch) -> None:
    shop = Shop(tmp_path)
    async with shop.open() as stage:
        await stage.client.start_orchestration("order-1", orders.process_order, order())
        await stage.settle()
        await stage.client.terminate_instance("order-1", "for this test")
        await stage.client.start_orchestration("order-2", orders.process_order, order())
        await stage.settle()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ORDER)

    found = commands_of(page)
    codes = {command: await asyncio.to_thread(command_line, words_of(command)) for command in found}

    assert len(found) >= 2
    assert [command for command, code in codes.items() if code] == []


async def test_a_description_says_in_words_what_an_order_waits_for(tmp_path) -> None:
    async with Shop(tmp_path).open() as stage:
        await stage.client.start_orchestration("o-1", orders.process_order, order())
        await stage.settle()
        await stage.advance(1)  # the pause before the second attempt of the charge
        await stage.settle()
        description = await stage.client.describe_instance("o-1")

    said = re.findall(r"^\| `(waits for event [^`]*) since …`", guide(), re.MULTILINE)
    assert said == ["waits for event 'approval'"]
    assert description.doing.startswith(said[0])


def guide() -> str:
    return (GUIDE / "operators-guide.md").read_text("utf-8")
