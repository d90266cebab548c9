"""How long a request is tried again, and what its answer then is worth."""

import pytest
from perdure.errors import StorageUnavailable
from perdure_dynamodb._retries import LONGEST, TOKEN_LIFE, RetryingCalls
from perdure_dynamodb._seam import Reason, TransactionCancelled, Unanswered


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
