"""The tree of errors: as drawn, picklable, and with messages that say what to do."""

import copy
import inspect
import pickle
import re
from datetime import UTC, datetime, timedelta

import pytest
from perdure import errors
from perdure.model import application_errors
from perdure.model.details import ApplicationFailure, Raised
from perdure.model.status import Parked

DETAILS = ApplicationFailure(Raised(type_name="ValueError", message="no"))
PARKED = Parked(
    reason="unregistered", details="no runtime has it", since=datetime(2024, 1, 1, tzinfo=UTC)
)
CLASSES = [
    value
    for value in (*vars(errors).values(), *vars(application_errors).values())
    if inspect.isclass(value) and issubclass(value, errors.PerdureError)
]
CLASSES = list(dict.fromkeys(CLASSES))
MADE = {
    errors.InstanceAlreadyExists: errors.InstanceAlreadyExists("i"),
    errors.InstanceNotFound: errors.InstanceNotFound("i"),
    errors.ExecutionNotFound: errors.ExecutionNotFound("i", 3),
    errors.HistoryConflict: errors.HistoryConflict("i", expected=(1, 2), found=(1, 3)),
    errors.LeaseLost: errors.LeaseLost("i", operation="commit_turn"),
    errors.ActivityLeaseLost: errors.ActivityLeaseLost("i", ["a", "b"], operation="commit_turn"),
    errors.CapabilityMissing: errors.CapabilityMissing("recovery", "memory://x"),
    errors.InstanceRunning: errors.InstanceRunning("i"),
    errors.ValueNotFound: errors.ValueNotFound("i", "key"),
    errors.ManagementNotAvailable: errors.ManagementNotAvailable("memory://x"),
    errors.WaitTimeout: errors.WaitTimeout("i", timedelta(seconds=1.5), parked=PARKED),
    errors.OrchestrationFailed: errors.OrchestrationFailed("i", DETAILS),
    errors.ActivityFailed: errors.ActivityFailed("charge", DETAILS),
    errors.ActivityTimeout: errors.ActivityTimeout("charge", DETAILS),
    errors.SubOrchestrationFailed: errors.SubOrchestrationFailed("i", "Sum", DETAILS),
    errors.SubOrchestrationAlreadyExists: errors.SubOrchestrationAlreadyExists("i", "Sum"),
    application_errors.ApplicationError: application_errors.ApplicationError(
        "the bank is busy", details={"status": 503}
    ),
    application_errors.RetryAfter: application_errors.RetryAfter(2.5, details=["busy"]),
}


def make(kind):
    if kind in MADE:
        return MADE[kind]
    if issubclass(kind, errors.ProviderError):
        return kind("the disk is full; free some", operation="commit_turn")
    return kind("something 'x' is wrong; do better")


def drawn():
    """The tree of the module's docstring: each class with its parent and its builtin base."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(
            r"^    (?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: \((?P<also>\w+)\))?(?:\s{2,}|$)", line
        )
        if match is None:
            continue
        depth = len(match["branch"]) // 4
        path[depth:] = [match["name"]]
        tree[match["name"]] = (path[depth - 1] if depth else None, match["also"])
    return tree


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    real = {}
    for kind in CLASSES:
        own = [base.__name__ for base in kind.__bases__ if issubclass(base, errors.PerdureError)]
        other = [
            base.__name__
            for base in kind.__bases__
            if not issubclass(base, errors.PerdureError) and base is not Exception
        ]
        real[kind.__name__] = (own[0] if own else None, other[0] if other else None)

    assert drawn() == real
    assert len(real) > 30


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "journey",
    [
        lambda error: pickle.loads(pickle.dumps(error)),  # our own bytes
        copy.copy,
        copy.deepcopy,
    ],
)
def test_every_error_pickles_and_copies_with_its_attributes(kind, journey):
    error = make(kind)
    error.add_note("seen at noon")
    back = journey(error)

    assert type(back) is kind
    assert str(back) == str(error)
    assert back.args == error.args
    assert back.__dict__ == error.__dict__


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_documented_and_says_one_lower_case_sentence(kind):
    message = str(make(kind))

    assert kind.__doc__
    assert message
    assert message[0].islower()
    assert "\n" not in message
    assert not message.endswith(".")


def test_only_an_unavailable_storage_is_worth_a_retry_unless_said():
    retryable = {
        kind for kind in CLASSES if issubclass(kind, errors.ProviderError) and make(kind).retryable
    }
    said = errors.StorageFailed("the disk is full; free some", operation="send", retryable=True)

    assert retryable == {errors.StorageUnavailable}
    assert said.retryable
    assert pickle.loads(pickle.dumps(said)).retryable  # our own bytes
    assert not errors.StorageFailed.retryable


def test_a_wait_that_timed_out_says_why_nothing_moved():
    second = timedelta(seconds=1)

    assert "no such instance exists yet" in str(errors.WaitTimeout("i", second, exists=False))
    assert "still running" in str(errors.WaitTimeout("i", second))
    assert "parked (unregistered): no runtime has it" in str(
        errors.WaitTimeout("i", second, parked=PARKED)
    )
    assert "within 0.25 s" in str(errors.WaitTimeout("i", second / 4))


def test_a_failed_activity_shows_what_was_raised():
    error = errors.ActivityFailed("charge", DETAILS)

    assert (error.type_name, error.message) == ("ValueError", "no")
    assert "activity 'charge' failed: ValueError: no" in str(error)
