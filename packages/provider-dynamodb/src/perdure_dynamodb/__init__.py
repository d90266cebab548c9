"""Perdure on Amazon DynamoDB: durable execution over many machines.

Open it by URL, `perdure.open_provider("dynamodb://Table?region=eu-west-1")`, or with
`DynamoDBOptions`. What can be wrong when it is opened has an error each, exported here. How the
files fit together, from the outside in:

- `_plugin`, `_options`, `_opening`, `_provider`: what core sees
- `_sending`, `_turns`, `_turn_taking`, `_turn_leases`, `_commits`, `_activity_looks`, `_activities`,
  `_heartbeats`, `_reopening`, `_deletion`, `_early_events`, `_namespace_deletion`, `_watching`,
  `_admin`: the contract's methods
- `_planner`, `_commit_plan`, `_fence`, `_commit_answers`, `_changes`, `_change_kinds`,
  `_change_build`, `_staged_commits`, `_manifest`, `_ids_in_use`: what goes together, in one
  transaction or staged
- `_signals`: how an instance learns of its messages
- `_looks`, `_queue_scan`, `_other_queues`, `_busy_queues`, `_far_looks`, `_counting`, `_listing`,
  `_listed`, `_finding`, `_histories`, `_instance_reads`, `_work_reads`, `_stable_reads`: finding
- `_lease_memory`, `_activity_memory`, `_unreturned_leases`: remembering
- `_purge`, `_removal`, `_litter`: removing
- `_lives`, `_locks`, `_messages`, `_activity_items`, `_segments`, `_payloads`, `_keys`, `_shards`,
  `_arrivals`: what the items look like
- `_namespace`, `_table`, `_values`, `_retries`, `_usage`, `_transport`, `_errors`, `_aws`,
  `_direct`, `_http`: requests, down to the place where they leave
- `_schema`, `local`: the table, and DynamoDB Local for tests and development
"""

from perdure_dynamodb._options import DynamoDBOptions
from perdure_dynamodb._schema import (
    CredentialsRefused,
    EndpointUnreachable,
    RegionInvalid,
    TableMissing,
    WrongTableShape,
)

__all__ = [
    "CredentialsRefused",
    "DynamoDBOptions",
    "EndpointUnreachable",
    "RegionInvalid",
    "TableMissing",
    "WrongTableShape",
]
