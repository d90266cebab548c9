"""The provider on the model keeps the contract: fast, and under faults that Local never makes."""

import os
import random

import pytest
from perdure_conformance import ProviderConformance
from perdure_dynamodb.testing.faults import Fault, FaultyCalls
from perdure_dynamodb.testing.model import ModelCalls
from perdure_dynamodb.testing.model_backend import ModelBackend

WITH_SCENARIOS = bool(os.environ.get("PERDURE_TEST_SCENARIOS_ON_THE_MODEL"))
"""The scenarios are those of core, and DynamoDB Local plays them in every run of the tests."""


class TestModelWithFourShards(ProviderConformance):
    left_out = {} if WITH_SCENARIOS else {"SCENARIO": "`nox -s protocol` plays them on the model"}

    @pytest.fixture
    def conformance_backend(self):
        return ModelBackend(ModelCalls(), shards=4, pauses=True)


class TestModelWithFaults(ProviderConformance):
    """Of every ten requests one is throttled, in conflict, half done, or loses its answer."""

    left_out = {} if WITH_SCENARIOS else {"SCENARIO": "`nox -s protocol` plays them under faults"}

    @pytest.fixture
    def conformance_backend(self, request):
        random_number = random.Random(request.node.name).random
        attempts = {}

        def plan(operation, parameters):
            # Never three times in a row, since nothing moves the clock on which a third waits.
            # The parameters are kept, since another request may get the id of those that are gone.
            attempt = attempts.get(id(parameters), (0, None))[0] + 1
            attempts[id(parameters)] = (attempt, parameters)
            if random_number() > 0.1 or attempt % 3 == 0:
                return None
            faults = [Fault.BUSY, Fault.LOST_REQUEST, Fault.LOST_ANSWER]
            if operation.startswith("Batch"):
                faults.append(Fault.UNPROCESSED)
            elif operation not in ("GetItem", "Query"):
                faults.append(Fault.CONFLICT)
            return faults[int(random_number() * len(faults))]

        return ModelBackend(FaultyCalls(ModelCalls(), plan), shards=4)
