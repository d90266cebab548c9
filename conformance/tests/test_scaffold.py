"""The scaffold: what it writes is whole, and a provider outside the workspace is certified."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from perdure.errors import InvalidInput
from perdure_conformance.command import main
from perdure_conformance.scaffold import scaffold

GUIDE = Path(__file__).parents[2] / "docs" / "build-on-it" / "writing-a-provider.md"


@pytest.mark.parametrize("scheme", ["", "Acme", "ac-me", "1st", "ac me", "../acme"])
def test_a_scheme_that_is_no_word_is_refused(scheme, tmp_path):
    with pytest.raises(InvalidInput, match="lower-case word"):
        scaffold(scheme, tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_an_existing_directory_is_left_alone(tmp_path):
    with pytest.raises(InvalidInput, match="exists"):
        scaffold("acme", tmp_path)


def test_the_command_says_what_it_wrote_and_what_comes_next(tmp_path, capsys):
    directory = tmp_path / "perdure-acme"

    assert main(["new", "acme", str(directory)]) == 0

    said = capsys.readouterr().out
    assert str(directory / "pyproject.toml") in said
    assert "pip install" in said


def test_no_name_of_the_suite_is_left_in_the_package(tmp_path):
    written = scaffold("acme", tmp_path / "perdure-acme")

    for path in written:
        text = path.read_text(encoding="utf-8")
        assert "__scheme__" not in text
        assert "__Scheme__" not in text
        assert "Reference" not in text
        assert "perdure_conformance" not in text or path.name in {
            "conformance_backend.py",
            "plugin.py",
            "test_conformance.py",
            "README.md",
        }


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The scaffold, built as a wheel and unpacked where only its own path leads to."""
    directory = tmp_path_factory.mktemp("outside")
    scaffold("acme", directory / "perdure-acme")
    install(directory)
    return directory


@pytest.fixture
def journaled(tmp_path):
    """The scaffold with the journal of the documentation in it, and declared persistent."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    journal = "from pathlib import Path\n" + "".join(blocks[1:3])
    package = tmp_path / "perdure-acme"
    scaffold("acme", package)
    source = package / "src" / "perdure_acme"
    (source / "journal.py").write_text(journal, encoding="utf-8")
    plugin = (source / "plugin.py").read_text(encoding="utf-8")
    plugin = plugin.replace("frozenset({", 'frozenset({"persistent", ')
    plugin = plugin.replace("open=open_provider", "open=open_journaled")
    (source / "plugin.py").write_text(plugin + OPEN_JOURNALED, encoding="utf-8")
    install(tmp_path)
    (tmp_path / "store").mkdir()
    return tmp_path


OPEN_JOURNALED = """

def open_journaled(options, *, clock):
    from pathlib import Path

    from perdure_acme.journal import open_acme

    return open_acme(Path(options.name), clock=clock, namespace=options.namespace)
"""


def install(directory):
    package = directory / "perdure-acme"
    run(directory, "hatchling", "build", "-t", "wheel", cwd=package)
    (wheel,) = (package / "dist").glob("*.whl")
    # As an installer lays out a wheel without scripts, the entry points included.
    zipfile.ZipFile(wheel).extractall(directory / "installed")


def run(directory: Path, *words: str, cwd: Path | None = None, status: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(directory / "installed")}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd or directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_is_reached_by_its_url_alone_and_shows_what_its_transactions_wrote(installed):
    words = ["acme://reached", "--only", "CREATE", "TRANSACT", "--report", "report"]
    run(installed, "perdure_conformance", *words, status=3)

    report = json.loads((installed / "report" / "conformance.json").read_text(encoding="utf-8"))
    assert report["provider"]["distribution"] == "perdure-acme"
    assert report["counts"]["passed"] >= 11
    assert (report["counts"]["failed"], report["counts"]["unsupported"]) == (0, 0)


@pytest.mark.slow
def test_workers_run_the_own_tests_of_the_wheel_and_a_part_of_them_is_no_verdict(installed):
    # All of them, and their verdict, belong to `nox -s lowest`.
    words = ["-W", "error", "-n", "2", "-p", "no:asyncio", "-k", "CREATE", "--junit-xml=junit.xml"]
    said = run(installed, "pytest", *words, cwd=installed / "perdure-acme")

    assert "CREATE-1" in (installed / "perdure-acme" / "junit.xml").read_text(encoding="utf-8")
    assert "is conformant" not in said
    assert "no verdict on the whole contract" in said


@pytest.mark.slow
def test_a_url_that_cannot_be_opened_is_never_conformant_and_says_why(installed):
    said = run(installed, "perdure_conformance", "acme://", status=2)

    assert "could not be opened" in said
    assert "NOT conformant" in said


@pytest.mark.slow
def test_the_journal_of_the_documentation_is_durable(journaled):
    said = run(journaled, "perdure_conformance", "acme://store", "--only", "DURABLE", status=3)
    also = run(journaled, "perdure_conformance", "acme://store", "--only", "COMMIT", status=3)

    assert "2 of 2 chosen checks passed" in said
    assert re.search(r"(\d+) of \1 chosen checks passed", also)
