"""The templates for CloudFormation, Terraform and CDK make the table that the command makes.

`nox -s templates` runs this file with the tools of these three; the tests of every change do without.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import hcl2
import pytest
from perdure_dynamodb._schema import definition

TEXT = (Path(__file__).parents[3] / "docs" / "operate" / "dynamodb.md").read_text(encoding="utf-8")
SYNTHESIS = """
import json, aws_cdk
from orders_table import add_orders_table
app = aws_cdk.App(outdir="synthesised")
stack = aws_cdk.Stack(app, "Orders", env=aws_cdk.Environment(region="eu-west-1"))
add_orders_table(stack)
print(json.dumps(app.synth().get_stack_by_name("Orders").template))
"""


def block_after(heading, language):
    """The first block of code behind a line of the page."""
    section = TEXT[TEXT.index(f"\n{heading}\n") :]
    [block] = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[:1]
    return block


@pytest.fixture
def made():
    """What the command makes, and its backups."""
    backups = {"PointInTimeRecoveryEnabled": True}
    return {
        **definition("Orders", {"service": "orders"}),
        "PointInTimeRecoverySpecification": backups,
    }


def test_cloudformation_has_no_complaint(tmp_path, made):
    template = tmp_path / "orders.json"
    template.write_text(block_after("CloudFormation makes it so:", "json"), encoding="utf-8")

    command = Path(sys.executable).with_name("cfn-lint")
    checked = subprocess.run([command, template], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr
    [resource] = json.loads(template.read_text(encoding="utf-8"))["Resources"].values()
    assert resource["Properties"] == made


def test_cdk_synthesises_the_table(tmp_path, made):
    (tmp_path / "orders_table.py").write_text(
        block_after("CDK, in Python:", "py"), encoding="utf-8"
    )

    said = subprocess.run(
        [sys.executable, "-c", SYNTHESIS], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout

    [table] = [
        resource
        for resource in json.loads(said)["Resources"].values()
        if resource["Type"] == "AWS::DynamoDB::GlobalTable"
    ]
    [replica] = table["Properties"].pop("Replicas")
    del replica["Region"], replica["GlobalSecondaryIndexes"]
    assert {**table["Properties"], **replica} == made
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"


def test_terraform_describes_the_table(made):
    parsed = hcl2.loads(block_after("Terraform:", "text"))
    [resource] = plain(parsed)["resource"]
    table = resource["aws_dynamodb_table"]["orders"]
    [attributes] = table["dynamic"]
    [index] = table["global_secondary_index"]
    [backups] = table["point_in_time_recovery"]
    [content] = attributes["attribute"]["content"]

    assert content == {"name": "${attribute.value}", "type": "S"}
    assert {
        "TableName": table["name"],
        "BillingMode": table["billing_mode"],
        "DeletionProtectionEnabled": table["deletion_protection_enabled"],
        "Tags": [{"Key": key, "Value": value} for key, value in table["tags"].items()],
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": content["type"]}
            for name in attributes["attribute"]["for_each"]
        ],
        "KeySchema": keys_of(table),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index["name"],
                "KeySchema": keys_of(index),
                "Projection": {
                    "ProjectionType": index["projection_type"],
                    "NonKeyAttributes": index["non_key_attributes"],
                },
            }
        ],
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": backups["enabled"]},
    } == made


def keys_of(described):
    return [
        {"AttributeName": described["hash_key"], "KeyType": "HASH"},
        {"AttributeName": described["range_key"], "KeyType": "RANGE"},
    ]


def plain(parsed):
    """What was parsed, without the quotation marks and the notes of the parser."""
    match parsed:
        case dict():
            return {
                plain(name): plain(value)
                for name, value in parsed.items()
                if name != "__is_block__"
            }
        case list():
            return [plain(each) for each in parsed]
        case str():
            return parsed.strip('"')
        case _:
            return parsed
