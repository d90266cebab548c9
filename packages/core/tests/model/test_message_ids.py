"""The ids of messages and activities, which are stored and therefore never change their form."""

from perdure.model import message_ids


def test_the_ids_keep_the_form_in_which_they_are_stored():
    assert message_ids.start_id("n") == "start:n"
    assert message_ids.restart_id("n", 2) == "start:n:2"
    assert message_ids.activity_id(1, 2) == "1:2"
    assert message_ids.activity_result_id("1:2") == "activity:1:2"
    assert message_ids.timer_id(1, 2) == "timer:1:2"
    assert message_ids.child_result_id(1, 2) == "child:1:2"
    assert message_ids.refused_child_id(1, 2) == "refused:1:2"
    assert message_ids.CANCEL_ID == "cancel"


def test_the_id_of_an_event_is_found_in_the_id_of_its_message():
    message_id = message_ids.event_message_id("event:paid")

    assert message_id == "event:event:paid"
    assert message_ids.event_id_of(message_id) == "event:paid"
