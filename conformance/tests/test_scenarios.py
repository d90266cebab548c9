"""The scenarios: each is documented, and each notices a broken promise."""

import importlib.util
import re
from pathlib import Path

from perdure.contract import PERSISTENT, SHARED
from perdure_conformance.broken_providers import BrokenPromise
from perdure_conformance.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]
SEMANTICS = (ROOT / "docs" / "explain" / "cases.md").read_text(encoding="utf-8")
NEEDS = r"(?: \*\(providers that declare `\w+`(?:, `\w+`)*(?: and `\w+`)?\)\*)?"


def number_of(scenario):
    return int(scenario.id.removeprefix("SCENARIO-").rstrip("abcdefgh"))


def test_the_document_says_what_the_checks_say():
    documented = re.findall(rf"^\*\*(SCENARIO-\w+)\.\*\* (.+?){NEEDS}$", SEMANTICS, re.MULTILINE)

    assert dict(documented) == {scenario.id: scenario.promise for scenario in SCENARIOS}
    assert len(documented) == len(SCENARIOS)


def test_no_case_is_without_a_scenario():
    assert {number_of(scenario) for scenario in SCENARIOS} == {*range(1, 54)}


def test_no_scenario_has_the_id_of_another():
    ids = [scenario.id for scenario in SCENARIOS]

    assert len(ids) == len(set(ids))


def broken_promises():
    for path in sorted(Path(__file__).parent.glob("test_promises_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from (value for value in vars(module).values() if isinstance(value, BrokenPromise))


def test_every_scenario_in_one_process_notices_a_broken_promise():
    of_processes = {PERSISTENT, SHARED}
    in_process = {each.id for each in SCENARIOS if not of_processes.intersection(each.needs)}
    noticed = {each for broken in broken_promises() for each in broken.scenarios}

    assert in_process - noticed == set()
