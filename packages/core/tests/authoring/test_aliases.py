"""Former names of functions: what is refused, and that each stands for one function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from perdure import (
    DuplicateRegistration,
    InvalidInput,
    OrchestrationContext,
    Registry,
    RetryPolicy,
)
from perdure.authoring.catalog import Catalog

Activity = Callable[[int], Awaitable[None]]
Flow = Callable[[OrchestrationContext], Awaitable[None]]


@pytest.fixture
def charge() -> Activity:
    async def charge(cents: int) -> None: ...

    return charge


@pytest.fixture
def refund() -> Activity:
    async def refund(cents: int) -> None: ...

    return refund


@pytest.fixture
def pay() -> Flow:
    async def pay(ctx: OrchestrationContext) -> None: ...

    return pay


@pytest.fixture
def pay_2() -> Flow:
    async def pay_2(ctx: OrchestrationContext) -> None: ...

    return pay_2


def test_an_alias_and_the_name_find_the_same_activity(charge: Activity) -> None:
    app = Registry()
    app.register_activity(charge, name="charge", aliases=("charge_v0", "bill"))
    catalog = Catalog([app])

    assert catalog.activity("charge_v0") is catalog.activity("bill") is catalog.activity("charge")
    assert catalog.activity("other") is None
    assert [name for name, _ in catalog.served_activities()] == ["charge", "charge_v0", "bill"]


def test_an_alias_of_an_orchestration_has_the_versions_that_name_it(pay: Flow, pay_2: Flow) -> None:
    app = Registry()
    app.orchestration(name="pay", aliases=["buy"])(pay)
    app.orchestration(name="pay", version="2.0.0")(pay_2)
    catalog = Catalog([app])

    assert catalog.versions() == {
        "pay": frozenset({"1.0.0", "2.0.0"}),
        "buy": frozenset({"1.0.0"}),
    }
    assert catalog.orchestration("buy", None) is catalog.orchestration("pay", "1.0.0")
    assert len(list(catalog.orchestrations())) == 2


def test_several_versions_may_share_an_alias(pay: Flow, pay_2: Flow) -> None:
    app = Registry()
    app.orchestration(name="pay", aliases=["buy"])(pay)
    app.orchestration(name="pay", aliases=["buy"], version="2.0.0")(pay_2)

    found = Catalog([app]).orchestration("buy", None)

    assert found is not None
    assert found.version == "2.0.0"


@pytest.mark.parametrize("first_is_the_alias", [True, False])
def test_an_alias_that_is_the_name_of_another_activity_is_refused(
    first_is_the_alias: bool, charge: Activity, refund: Activity
) -> None:
    app = Registry()

    def with_alias() -> None:
        app.register_activity(charge, name="one", aliases=("two",))

    def with_name() -> None:
        app.register_activity(refund, name="two")

    first, second = (with_alias, with_name) if first_is_the_alias else (with_name, with_alias)
    first()
    with pytest.raises(DuplicateRegistration, match="'two'"):
        second()


def test_an_alias_of_two_activities_is_refused_also_over_registries(
    charge: Activity, refund: Activity
) -> None:
    one, two = Registry(), Registry()
    one.register_activity(charge, name="one", aliases=("old",))
    two.register_activity(refund, name="two", aliases=("old",))

    with pytest.raises(DuplicateRegistration, match="'old' is an alias of 'one' already"):
        Catalog([one, two])


def test_an_alias_of_two_orchestrations_is_refused_although_the_versions_differ(
    pay: Flow, pay_2: Flow
) -> None:
    app = Registry()
    app.orchestration(name="first", aliases=("old",))(pay)

    with pytest.raises(DuplicateRegistration, match="'old' is an alias of 'first' already"):
        app.orchestration(name="second", version="2.0.0", aliases=("old",))(pay_2)


def test_the_name_itself_is_no_alias(charge: Activity) -> None:
    with pytest.raises(InvalidInput, match="alias 'charge' is the name of the activity itself"):
        Registry().activity(aliases=("charge",))(charge)


@pytest.mark.parametrize("aliases", ["charge_v0", 5])
def test_aliases_are_a_collection_of_names(aliases: object, charge: Activity) -> None:
    with pytest.raises(InvalidInput, match="aliases"):
        Registry().activity(name="new", aliases=aliases)(charge)  # pyright: ignore[reportArgumentType, reportCallIssue] # what is refused


def test_an_alias_keeps_the_rule_for_identifiers(charge: Activity) -> None:
    with pytest.raises(InvalidInput, match="alias of activity 'charge' '' is empty"):
        Registry().activity(aliases=("",))(charge)


def test_a_replacing_registry_lets_the_later_registration_count(
    charge: Activity, refund: Activity
) -> None:
    app = Registry(replace=True)
    app.register_activity(charge, name="one", aliases=("old",))
    app.register_activity(refund, name="two", aliases=("old",))
    app.register_activity(charge, name="one")

    found = Catalog([app]).activity("old")

    assert found is not None
    assert found.name == "two"


def test_defaults_are_checked_at_the_registration(charge: Activity) -> None:
    with pytest.raises(InvalidInput, match="retry 3 is not a RetryPolicy"):
        Registry().activity(retry=3)(charge)  # pyright: ignore[reportArgumentType, reportCallIssue] # what is refused
    with pytest.raises(InvalidInput, match="tag"):
        Registry().activity(retry=RetryPolicy(max_attempts=3), tag="")(charge)
