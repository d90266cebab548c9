"""The own work of a step, counted in calls of functions: a clock would tell of other processes."""

import sys
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace

from perdure.contract import ActivityLease, NewActivity, Serves, TurnRequest
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb._direct import DirectCalls, Signer
from perdure_dynamodb._http import Response

LEASE = timedelta(seconds=30)
TOKEN = "worker"  # noqa: S105 # no secret
CALLS_OF_A_STEP = 550
"""Calls of Python functions of a step's commit, down to the connection; about a tenth more than
there are now. A step of a chain takes about a millisecond of processor time, of which this is half."""


class Pool:
    """Answers every request with success."""

    host = "dynamodb.eu-west-1.amazonaws.com"

    async def post(self, headers, body):
        return Response(200, {}, b"{}")


class Switched:
    """The model, until requests go their way to the connection."""

    def __init__(self, model):
        self.calls = model

    async def call(self, operation, parameters):
        return await self.calls.call(operation, parameters)


async def credentials():
    return SimpleNamespace(access_key="AKID", secret_key="S", token=None)  # noqa: S106


async def count_calls(work):
    """The calls of functions, by file and name, until the work is done."""
    counts = Counter()

    def note(frame, event, _):
        if event == "call":
            code = frame.f_code
            counts[code.co_filename.rpartition("/")[2], code.co_name] += 1

    sys.setprofile(note)
    try:
        await work
    finally:
        sys.setprofile(None)
    return counts


async def test_a_step_makes_no_more_calls_than_it_did(open_on_model, model):
    calls = Switched(model)
    async with open_on_model(calls) as provider:
        await provider.create_instance(new_instance("alpha", incarnation="first", data=b""))
        request = TurnRequest(
            token="t",  # noqa: S106 # no secret
            limit=1,
            lease_for=LEASE,
            serves=Serves(orchestrations={"flow": frozenset()}),
        )
        [turn] = await provider.lease_turns(request)

        def step(number):
            finished = ActivityLease(instance="alpha", activity=f"{number - 1}", token=TOKEN)
            return commit_of(
                turn,
                expected_event=2 * number,
                events=(b'{"kind": "ActivityCompleted"}', b'{"kind": "ActivityScheduled"}'),
                remove=() if number else ("start",),
                finish=(finished,) if number else (),
                add=(NewActivity(id=f"{number}", name="work", data=b"{}", lease=True),),
                keep_for=LEASE,
                activity_token=TOKEN,
                activity_lease_for=LEASE,
            )

        for number in range(3):
            await provider.commit_turn(step(number))
        signer = Signer("eu-west-1", "dynamodb", Pool.host)
        calls.calls = DirectCalls(Pool(), signer, credentials)
        counts = await count_calls(provider.commit_turn(step(3)))
        calls.calls = model

    assert counts.total() <= CALLS_OF_A_STEP, counts.most_common(12)
