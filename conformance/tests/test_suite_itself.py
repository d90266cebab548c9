"""What the suite asks of itself: clauses, checks and broken providers belong together."""

import importlib.util
import re
from pathlib import Path

from perdure_conformance.broken_providers import Broken
from perdure_conformance.clauses import CLAUSES

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs" / "build-on-it" / "contract.md").read_text(encoding="utf-8")


def broken_providers():
    for path in sorted(Path(__file__).parent.glob("test_broken_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from (value for value in vars(module).values() if isinstance(value, Broken))


def test_clauses_and_checks_have_the_same_ids():
    clauses = re.findall(r"^\*\*([A-Z]+-\d+)\.\*\*", CONTRACT, re.MULTILINE)

    assert [check.id for check in CLAUSES] == clauses


def test_no_check_has_the_id_of_another():
    ids = [check.id for check in CLAUSES]

    assert len(ids) == len(set(ids))


def test_every_family_is_numbered_without_gaps():
    for family in {check.family for check in CLAUSES}:
        numbers = [int(check.id.rpartition("-")[2]) for check in CLAUSES if check.family == family]
        assert numbers == list(range(1, len(numbers) + 1)), family


def test_every_promise_is_one_short_paragraph():
    for check in CLAUSES:
        assert check.promise.endswith("."), check.id
        assert len(check.promise) < 200, check.id


def test_every_check_catches_a_broken_provider():
    caught = {clause for broken in broken_providers() for clause in broken.clauses}
    caught |= {
        "DURABLE-2",
        "SHARED-1",
        "SHARED-2",
    }  # by providers that need a file, in test_broken_durability

    assert [check.id for check in CLAUSES if check.id not in caught] == []


def test_at_least_sixty_providers_are_broken_and_each_only_once():
    names = [broken.name for broken in broken_providers()]

    assert len(names) >= 60
    assert len(names) == len(set(names))
