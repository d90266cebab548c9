"""Engines that break what a rewind, a fork, a value or a retention promises: their scenarios must fail."""

import pytest
from perdure.history import OrchestrationStarted
from perdure.replay.execution import Execution
from perdure.runtime.copies import Rewind
from perdure.runtime.retention import RetentionJob
from perdure_conformance.broken_providers import breaks_promises
from perdure_conformance.model import ModelProvider


@breaks_promises("47")
def a_rewound_execution_makes_keys_of_its_own(patch):
    patch.setattr(OrchestrationStarted, "origin", lambda started, event: started.execution)


@breaks_promises("47")
def a_cancelled_child_is_not_rewound(patch):
    patch.setattr("perdure.runtime.copies._was_cancelled", lambda *arguments: False)


@breaks_promises("47a")
def a_reopening_changes_nothing(patch):
    async def reopen_instance(self, reopening):
        return None

    return type("Spoiled", (ModelProvider,), {"reopen_instance": reopen_instance})


@breaks_promises("47b")
def dropped_events_are_not_delivered_again(patch):
    patch.setattr("perdure.runtime.copies.events_to_deliver_again", lambda *arguments: [])


@breaks_promises("47b")
def dropped_children_run_on(patch):
    patch.setattr("perdure.runtime.copies.cancellations_of_dropped", lambda *arguments: [])


@breaks_promises("48")
def a_fork_does_not_start_its_children(patch):
    patch.setattr("perdure.runtime.executions.settle_fork", lambda execution, at_cut: None)


@breaks_promises("30")
def an_execution_inherits_no_values(patch):
    async def read_values(provider, state):
        return {}

    patch.setattr("perdure.runtime.leased_instance.read_values", read_values)
    patch.setattr("perdure.runtime.executions.read_values", read_values)
    patch.setattr(Execution, "values", property(lambda execution: {}))


@breaks_promises("50")
def a_rewind_leaves_the_values(patch):
    patch.setattr(Rewind, "_restore", lambda rewind, at_cut: None)


@breaks_promises("53")
def a_retention_deletes_nothing(patch):
    async def delete(job, status, age, deleted):
        return None

    patch.setattr(RetentionJob, "_delete", delete)


@pytest.mark.slow
def test_a_broken_promise_is_noticed(notices, broken_promise, scenario):
    assert notices(broken_promise, scenario)
