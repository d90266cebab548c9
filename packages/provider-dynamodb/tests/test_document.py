"""What docs/operate/dynamodb.md says is what is built."""

import json
import re
from pathlib import Path

import botocore.session
import perdure_dynamodb
from perdure.contract import ALLOWED_SKEW, LONGEST_LEASE
from perdure.errors import ProviderError
from perdure_dynamodb import DynamoDBOptions
from perdure_dynamodb._commits import FINISH_LIMIT
from perdure_dynamodb._options import DEFAULT_SHARDS, MOST_SHARDS
from perdure_dynamodb._payloads import CHUNK_BYTES, INLINE_LIMIT
from perdure_dynamodb._retries import ATTEMPTS
from perdure_dynamodb._schema import definition
from perdure_dynamodb._shards import GRACE, REFRESH
from perdure_dynamodb._table import TRANSACTION_LIMIT

PACKAGE = Path(perdure_dynamodb.__file__).parent
TEXT = (Path(__file__).parents[3] / "docs" / "operate" / "dynamodb.md").read_text(encoding="utf-8")
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def json_block(heading):
    section = TEXT[TEXT.index(f"### {heading}\n") :]
    found = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    return json.loads(found[1])


def options_of(text):
    section = text[text.index("| option |") :].split("\n\n")[0]
    cells = [line.split("|")[1] for line in section.splitlines()[2:]]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_the_policy_allows_what_the_provider_asks_for_and_no_more():
    operations = set(botocore.session.get_session().get_service_model("dynamodb").operation_names)
    written = {
        text
        for path in PACKAGE.glob("_*.py")
        for text in re.findall(r'"(\w+)"', path.read_text(encoding="utf-8"))
    }
    asked = operations & written
    assert {"TransactWriteItems", "CreateTable", "Query"} <= asked
    # A transaction needs the permissions of its actions, one of which is no operation of its own.
    needed = asked - {"TransactWriteItems", "CreateTable"} | {"ConditionCheckItem"}

    [statement] = json_block("The permissions")["Statement"]

    assert statement["Action"] == sorted(f"dynamodb:{each}" for each in needed)


def test_the_template_makes_the_table_that_the_command_makes():
    [resource] = json_block("The table")["Resources"].values()

    assert resource["Properties"] == definition("Orders")


def test_every_option_has_its_line():
    fields = set(DynamoDBOptions.model_fields) - {"table"}

    assert options_of(TEXT) == fields
    assert options_of(README) == fields


def test_every_error_has_its_line():
    errors = {
        name
        for name in perdure_dynamodb.__all__
        if issubclass(getattr(perdure_dynamodb, name), ProviderError)
    }

    assert {name for name in errors if f"| `{name}` |" in TEXT} == errors
    assert len(errors) == 5


def test_the_numbers_are_those_of_the_code():
    for said in (
        f"| `shards` | {DEFAULT_SHARDS} |",
        f"| shards | {MOST_SHARDS} |",
        f"above {INLINE_LIMIT // 1024} KB it is kept in parts of {CHUNK_BYTES // 1000} KB",
        f"one transaction ({TRANSACTION_LIMIT} actions)",
        f"| activities that one commit finishes | {FINISH_LIMIT} |",
        f"repeated up to {ATTEMPTS} times",
        f"within {REFRESH.seconds} seconds",
        f"{GRACE.seconds} seconds after the growth",
    ):
        assert said in TEXT, said
    assert (LONGEST_LEASE + ALLOWED_SKEW).seconds == 6 * 60
    assert "more than six minutes ahead" in TEXT
