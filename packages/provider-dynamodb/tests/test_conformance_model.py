"""The provider on the model keeps the contract: fast, and under faults that Local never makes."""

import random
from contextlib import asynccontextmanager

import pytest
from perdure_conformance import ProviderConformance
from perdure_conformance.backend import Declaration
from perdure_dynamodb import DynamoDBOptions
from perdure_dynamodb._opening import open_on
from perdure_dynamodb._plugin import perdure_provider_specs
from perdure_dynamodb._retries import RetryingCalls
from perdure_dynamodb._table import Table
from perdure_dynamodb.testing.doors import DOORS, TableDoors
from perdure_dynamodb.testing.faults import Fault, FaultyCalls
from perdure_dynamodb.testing.model import ModelCalls


class ModelBackend(TableDoors):
    url = None

    def __init__(self, calls, *, shards):
        super().__init__(self._table)
        [spec] = perdure_provider_specs()
        self.declaration = Declaration(
            scheme="dynamodb",
            contract=spec.contract,
            # Without a URL no other process can be asked to use the model.
            capabilities=spec.capabilities - {"persistent", "shared"},
            description="model",
            doors=DOORS,
        )
        self._calls = calls
        self._shards = shards

    @asynccontextmanager
    async def open(self, *, clock, namespace):
        options = DynamoDBOptions(table="model", namespace=namespace, shards=self._shards)
        async with open_on(self._calls, options, clock=clock) as provider:
            yield provider

    @asynccontextmanager
    async def _table(self):
        yield Table(RetryingCalls(self._calls), "model")


class TestModelWithOneShard(ProviderConformance):
    @pytest.fixture
    def conformance_backend(self):
        return ModelBackend(ModelCalls(), shards=1)


class TestModelWithFaults(ProviderConformance):
    """Of every ten requests one is throttled, in conflict, half done, or loses its answer."""

    @pytest.fixture
    def conformance_backend(self, request):
        random_number = random.Random(request.node.name).random
        attempts = {}

        def plan(operation, parameters):
            # Never three times in a row, since nobody moves the clock on which a third waits.
            attempts[id(parameters)] = attempt = attempts.get(id(parameters), 0) + 1
            if random_number() > 0.1 or attempt % 3 == 0:
                return None
            faults = [Fault.BUSY, Fault.LOST_REQUEST, Fault.LOST_ANSWER]
            if operation.startswith("Batch"):
                faults.append(Fault.UNPROCESSED)
            elif operation not in ("GetItem", "Query"):
                faults.append(Fault.CONFLICT)
            return faults[int(random_number() * len(faults))]

        return ModelBackend(FaultyCalls(ModelCalls(), plan), shards=4)
