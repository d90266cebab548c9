"""The commands that change what is stored: they do it, say what they did, and what not."""

from __future__ import annotations

import asyncio

import perdure
import pytest

from .conftest import Shop, app


async def status_of(url: str, instance: str, *, is_open: bool | None = None) -> object:
    """The status of an instance; with a shop, after a runtime has run it to its end."""
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        if is_open is None:
            return await client.get_orchestration_status(instance)
        shop = Shop()
        shop.is_open = is_open
        async with perdure.Runtime(provider, app, resources=shop):
            return await client.wait_for_orchestration(instance, 20)


def test_a_start_and_a_missing_result_are_sentences(url, perdure_says):
    said = perdure_says("start", url, "order-3", "wait")
    assert (said.code, said.out, said.err) == (0, "started order-3, an instance of wait\n", "")
    said = perdure_says("start", url, "order-3", "wait")
    assert (said.code, said.out) == (1, "")

    for instance, reason in (("order-1", "failed: "), ("order-2", "is running, so it has no")):
        said = perdure_says("result", url, instance)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith(f"perdure: {instance} {reason}")


def test_a_retried_order_goes_on_when_the_bank_is_open(url, perdure_says):
    said = perdure_says("retry", url, "order-1", "--reason", "the bank is open")

    assert (said.code, said.out, said.err) == (0, "retried order-1\n", "")
    ended = asyncio.run(status_of(url, "order-1", is_open=True))
    assert ended == perdure.Completed(output='"charged cup"')


def test_what_cannot_be_retried_is_named_and_the_others_are(url, perdure_says):
    said = perdure_says("retry", url, "order-2", "order-1", "nowhere", "--json")

    assert said.code == 1
    assert said.plain["retried"] == ["order-1"]
    assert [each["instance"] for each in said.plain["refused"]] == ["order-2", "nowhere"]
    assert "perdure: order-2: instance 'order-2' is running" in said.err


def test_a_rewind_says_which_execution_runs(url, perdure_says):
    said = perdure_says("rewind", url, "order-1", "--to", "1", "--newest-version")
    assert (said.code, said.out) == (0, "order-1 runs again, as execution 2\n")

    said = perdure_says("rewind", url, "order-1", "--to-event", "7", "--execution", "1")
    assert said.code == 2
    assert "neither an incoming event nor the end of a turn" in said.err


def test_a_cancellation_says_whether_the_instance_had_ended(url, perdure_says):
    said = perdure_says("cancel", url, "order-2", "--reason", "not needed")
    assert (said.code, said.out) == (0, "order-2 is asked to end\n")
    failed = asyncio.run(status_of(url, "order-2", is_open=False))
    assert failed.details.display_message() == "canceled: not needed"

    assert perdure_says("cancel", url, "order-2", "--json").plain["asked"] is False
    assert perdure_says("cancel", url, "nowhere").code == 1


def test_a_termination_says_whether_the_instance_had_ended(url, perdure_says):
    said = perdure_says("terminate", url, "order-2", "--yes", "--reason", "by mistake")
    assert (said.code, said.out) == (0, "order-2 was terminated\n")

    said = perdure_says("terminate", url, "order-2", "--yes", "--json")
    assert said.plain == {"instance": "order-2", "terminated": False}
    failed = asyncio.run(status_of(url, "order-2"))
    assert failed.details.display_message() == "terminated: by mistake"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["retry"], "no instance is named"),
        (["retry", "order-1", "--limit", "1"], "ids and --limit are both given"),
        (["delete"], "no instance is named"),
        (["delete", "order-1", "--dry-run"], "--dry-run is for instances that match"),
        (["delete", "--limit", "1", "--force"], "--force is for instances that are named"),
        (["delete", "order-1"], "Delete 1 instance, with children? There is no terminal to ask on"),
        (["terminate", "order-2"], "There is no terminal to ask on; pass --yes"),
        (["purge", "--older-than", "soon", "--yes"], "--older-than 'soon' is no duration"),
        (["purge", "--older-than", "-1d", "--yes"], "--older-than '-1d' is no duration"),
        (["start", "i", "wait", "{lamp"], "the input '{lamp' is not JSON"),
        (["raise", "order-2", "go", "lamp"], "a text needs its quotes, as in '\"lamp\"'"),
    ],
)
def test_a_command_that_does_not_say_what_it_is_for_does_nothing(url, perdure_says, words, message):
    said = perdure_says(words[0], url, *words[1:])

    assert (said.code, said.out) == (2, "")
    assert message in said.err


def test_a_path_is_no_url(perdure_says):
    said = perdure_says("terminate", "shop.db", "order-1", "--yes")

    assert said.code == 2
    assert "'shop.db' is no URL of a storage" in said.err


def test_named_instances_are_deleted_and_running_ones_with_force(url, perdure_says):
    said = perdure_says("delete", url, "order-1", "order-2", "nowhere", "--yes")
    assert (said.code, said.out) == (1, "deleted order-1\n")
    assert "instance 'order-2' is running" in said.err
    assert "instance 'nowhere' does not exist" in said.err

    assert perdure_says("delete", url, "order-2", "--force", "--yes").out == "deleted order-2\n"
    assert asyncio.run(status_of(url, "order-2")) == perdure.NotFound()


def test_instances_that_match_are_deleted_or_shown(url, perdure_says):
    said = perdure_says("delete", url, "--limit", "10", "--dry-run")
    assert said.out == "would delete order-1\n"
    said = perdure_says("delete", url, "--limit", "10", "--updated-before", "1d", "--yes")
    assert (said.out, said.err) == ("", "no instance matches\n")
    said = perdure_says("delete", url, "--limit", "10", "--status", "failed", "--json", "--yes")
    assert said.plain == {"deleted": ["order-1"], "refused": []}


def test_instances_that_match_are_retried(url, perdure_says):
    said = perdure_says("retry", url, "--orchestration", "pay", "--limit", "10")
    assert said.out == "retried order-1\n"
    said = perdure_says("retry", url, "--orchestration", "pay", "--limit", "10")
    assert (said.code, said.out, said.err) == (0, "", "no instance matches\n")


def test_a_purge_says_how_many_it_deleted(url, perdure_says):
    said = perdure_says("purge", url, "--older-than", "0s", "--yes")
    assert (said.code, said.out) == (0, "deleted 1 instance\n")
