"""The mark of a parked instance has what every storage takes, whatever it quotes of the user's code."""

from perdure.clock import ManualClock
from perdure.providers.plugins import create_plugin_manager
from perdure.runtime.observers import Observers
from perdure.runtime.parking import ParkedInstances


def details_of(quoted: str) -> str:
    parked = ParkedInstances(ManualClock(), Observers(create_plugin_manager()))
    return parked.mark("i", "nondeterministic", quoted).details


def test_details_have_no_surrogate_and_no_null_character() -> None:
    assert details_of("a\ud800b\0c") == "a\\ud800b\\0c"


def test_details_are_as_long_as_the_contract_has_them_kept() -> None:
    assert details_of("€" * 5000) == "€" * 4000
