"""Four worker processes on one table, one killed every few seconds: all instances end right."""

import asyncio
import os
import sys
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import perdure
import pytest

INSTANCES = int(os.environ.get("PERDURE_TEST_KILL_INSTANCES", "20"))
WORKERS = 4
SCRIPT = Path(__file__).with_name("killed_worker.py")


async def start_worker(url, ledger):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        url,
        env={**os.environ, "PERDURE_TEST_LEDGER": str(ledger)},
    )


async def kill_now_and_then(workers, url, ledger, random):
    """Kill one worker every few seconds, and start another in its place."""
    while True:
        await asyncio.sleep(random.uniform(2, 4))
        victim = workers.pop(random.randrange(len(workers)))
        victim.kill()
        await victim.wait()
        workers.append(await start_worker(url, ledger))


@pytest.mark.slow
async def test_all_instances_end_right_while_workers_are_killed(dynamodb_url, tmp_path):
    url = f"{dynamodb_url}&namespace=killed-{uuid.uuid4().hex[:8]}"
    ledger = tmp_path / "ledger"
    ledger.touch()
    workers = [await start_worker(url, ledger) for _ in range(WORKERS)]
    killing = asyncio.create_task(kill_now_and_then(workers, url, ledger, Random(1)))
    try:
        async with perdure.open_provider(url) as provider:
            client = perdure.Client(provider)
            names = [f"i-{number}" for number in range(INSTANCES)]
            for place, name in enumerate(names):
                await client.start_orchestration(name, "steps", str(place))
            for place, name in enumerate(names):
                status = await client.wait_for_orchestration(name, timeout=timedelta(minutes=5))
                assert status == perdure.Completed(output=str(3 * place + 10)), (name, status)
            histories = [await client.read_execution_history(name, 1) for name in names]
            metrics = await client.get_system_metrics()
            depths = await client.get_queue_depths()
    finally:
        killing.cancel()
        for worker in workers:
            worker.kill()
            await worker.wait()

    for history in histories:
        kinds = Counter(type(event).__name__ for event in history)
        assert kinds["ActivityScheduled"] == kinds["ActivityCompleted"] == 5
        assert [event.event_id for event in history] == list(range(1, len(history) + 1))
    assert (metrics.completed_instances, metrics.running_instances) == (INSTANCES, 0)
    assert (depths.orchestrator_queue, depths.worker_queue, depths.timer_queue) == (0, 0, 0)
    done = {tuple(line.split()) for line in ledger.read_text(encoding="utf-8").splitlines()}
    assert len(done) == 5 * INSTANCES
