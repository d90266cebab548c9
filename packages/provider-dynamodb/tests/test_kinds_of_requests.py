"""The clauses that `nox -s lowest` plays on DynamoDB Local make every kind of request.

With the oldest driver only the form of requests and answers can differ, so a few clauses do. Their
kinds are seen on the model.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from perdure_conformance.catalogue import ALL_CHECKS
from perdure_conformance.runner import Outcome, judge
from perdure_dynamodb._transport import ConditionFailed, TransactionCancelled
from perdure_dynamodb.testing.model import ModelCalls
from perdure_dynamodb.testing.model_backend import ModelBackend

MENU = Path(__file__).parents[3] / "noxfile.py"
KINDS = {
    "GetItem",
    "BatchGetItem",
    "BatchWriteItem",
    "PutItem",
    "PutItem: condition failed",
    "UpdateItem",
    "UpdateItem: condition failed",
    "DeleteItem",
    "DeleteItem: condition failed",
    "Query of the table",
    "Query of the table: more",
    "Query of the index",
    "Query of the index: more",
    "TransactWriteItems with ConditionCheck",
    "TransactWriteItems with Delete",
    "TransactWriteItems with Put",
    "TransactWriteItems with Update",
    "TransactWriteItems: cancelled",
}
"""All that the provider makes once its table is there: operations, and answers in a form of their own."""


class Watched:
    """Notes the kinds of the requests that pass."""

    def __init__(self):
        self.kinds = set()
        self._calls = ModelCalls()

    async def call(self, operation, parameters):
        name = operation
        if operation == "Query":
            name += " of the index" if "IndexName" in parameters else " of the table"
        if operation == "TransactWriteItems":
            actions = {action for each in parameters["TransactItems"] for action in each}
            self.kinds |= {f"{operation} with {action}" for action in actions}
        else:
            self.kinds.add(name)
        try:
            answer = await self._calls.call(operation, parameters)
        except ConditionFailed:
            self.kinds.add(f"{operation}: condition failed")
            raise
        except TransactionCancelled:
            self.kinds.add(f"{operation}: cancelled")
            raise
        if "LastEvaluatedKey" in answer:
            self.kinds.add(f"{name}: more")
        return answer


def chosen():
    """The clauses, as the menu names them."""
    [value] = [
        node.value
        for node in ast.parse(MENU.read_text("utf-8")).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "OLDEST_DRIVER_CLAUSES"
    ]
    return ast.literal_eval(value)


@pytest.mark.slow
def test_the_clauses_for_the_oldest_driver_make_every_kind_of_request():
    found = set()
    for check in ALL_CHECKS:
        if check.id in chosen():
            calls = Watched()
            assert judge(check, ModelBackend(calls, shards=4)).outcome is Outcome.PASSED
            found |= calls.kinds

    assert found == KINDS
