"""How long a request is tried again, and what its answer then is worth."""

import asyncio
import itertools

import pytest
from perdure.errors import StorageUnavailable
from perdure_dynamodb._retries import (
    LONGEST,
    MOST_REPEATS_AT_ONCE,
    REPEATS_A_SECOND,
    TOKEN_LIFE,
    RetryingCalls,
)
from perdure_dynamodb._table import Table
from perdure_dynamodb._transport import Busy, Reason, TransactionCancelled, Unanswered
from perdure_dynamodb.testing.model import ModelCalls


class Calls:
    """Fails as told, each request after some seconds on the wall."""

    def __init__(self, error, *, seconds):
        self.error = error
        self.seconds = seconds
        self.now = 0.0
        self.count = 0

    async def call(self, operation, parameters):
        self.count += 1
        self.now += self.seconds
        raise self.error


def retrying(calls):
    async def pause(seconds):
        calls.now += seconds

    return RetryingCalls(calls, pause=pause, now=lambda: calls.now)


async def test_a_slow_storage_is_not_asked_for_ever():
    calls = Calls(Unanswered("timeout"), seconds=4)

    with pytest.raises(StorageUnavailable, match="in 3 attempts"):
        await retrying(calls).call("GetItem", {})

    assert calls.now < LONGEST + 8


REFUSED = TransactionCancelled([Reason("ConditionalCheckFailed", None)])


async def test_a_refusal_in_time_is_a_refusal():
    with pytest.raises(TransactionCancelled):
        await retrying(Calls(REFUSED, seconds=1)).call("TransactWriteItems", {})


async def test_a_refusal_when_the_token_may_be_forgotten_tells_nothing():
    with pytest.raises(StorageUnavailable):
        await retrying(Calls(REFUSED, seconds=TOKEN_LIFE + 1)).call("TransactWriteItems", {})


async def test_the_pauses_grow_from_the_first_repeat_on():
    calls, pauses = Calls(Busy("throttled"), seconds=0), []

    async def pause(seconds):
        pauses.append(seconds)
        calls.now += seconds

    with pytest.raises(StorageUnavailable):
        await RetryingCalls(calls, pause=pause, now=lambda: calls.now).call("GetItem", {})

    assert len(pauses) == calls.count - 1
    assert pauses[0] > 0
    # Half of each is random, and each is twice the one before, up to the longest.
    assert all(later > 0.99 * earlier for earlier, later in itertools.pairwise(pauses[:7]))
    assert 4 < sum(pauses) < LONGEST


class Wall:
    """Time in which many callers pause at once."""

    def __init__(self):
        self.now = 0.0
        self._sleepers = []

    async def pause(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, len(self._sleepers), woken))
        await woken

    async def run(self, until):
        while self.now < until:
            for _ in range(3):
                await asyncio.sleep(0)
            self._sleepers.sort(key=lambda each: each[:2])
            self.now, _, woken = self._sleepers.pop(0)
            woken.set_result(None)


async def test_a_table_that_throttles_is_not_asked_more_often_because_more_calls_wait():
    wall, count = Wall(), 0

    class Throttling:
        async def call(self, operation, parameters):
            nonlocal count
            count += 1
            raise Busy("throttled")

    calls = RetryingCalls(Throttling(), pause=wall.pause, now=lambda: wall.now)

    async def persist():
        while True:
            try:
                await calls.call("GetItem", {})
            except StorageUnavailable:
                continue

    callers = [asyncio.ensure_future(persist()) for _ in range(300)]
    seconds = 60
    await wall.run(seconds)
    for caller in callers:
        caller.cancel()

    first_attempts = 300 * (seconds / LONGEST + 1)
    assert count <= first_attempts + MOST_REPEATS_AT_ONCE + REPEATS_A_SECOND * (seconds + LONGEST)


async def test_what_a_batch_left_undone_is_asked_for_after_a_pause():
    class OneAtATime:
        def __init__(self):
            self.model = ModelCalls()

        async def call(self, operation, parameters):
            [(table, asked)] = parameters["RequestItems"].items()
            if operation == "BatchWriteItem":
                await self.model.call(operation, {"RequestItems": {table: asked[:1]}})
                return {"UnprocessedItems": {table: asked[1:]} if asked[1:] else {}}
            keys = asked["Keys"]
            request = {table: {**asked, "Keys": keys[:1]}}
            answer = await self.model.call(operation, {"RequestItems": request})
            left = {table: {**asked, "Keys": keys[1:]}} if keys[1:] else {}
            return {**answer, "UnprocessedKeys": left}

    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    table = Table(RetryingCalls(OneAtATime(), pause=pause), "model")
    keys = [("p", f"s{number}") for number in range(25)]

    await table.put_many([{"pk": pk, "sk": sk} for pk, sk in keys])
    found = await table.get_many(keys)

    assert sorted(found) == sorted(keys)
    assert len(pauses) == 2 * 24
    assert all(pauses)


async def test_a_batch_of_which_nothing_is_done_is_given_up():
    class Nothing:
        async def call(self, operation, parameters):
            return {"UnprocessedItems": parameters["RequestItems"]}

    async def pause(seconds):
        pass

    with pytest.raises(StorageUnavailable, match="left undone"):
        await Table(RetryingCalls(Nothing(), pause=pause), "model").put_many(
            [{"pk": "p", "sk": "s"}]
        )
