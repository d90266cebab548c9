"""What a URL says, and what it may not say."""

import subprocess
import sys
from pathlib import Path

import perdure
import pytest
from perdure.contract import ProviderUrl
from perdure.errors import InvalidProviderUrl
from perdure_sqlite import SQLiteOptions, SQLiteProvider
from perdure_sqlite._plugin import perdure_provider_specs
from pydantic import ValidationError


def options(url: str) -> SQLiteOptions:
    return SQLiteOptions.from_url(ProviderUrl.parse(url))


def test_three_slashes_are_a_relative_path():
    assert options("sqlite:///orders.db").path == Path("orders.db")


def test_four_slashes_are_an_absolute_path():
    assert options("sqlite:////var/lib/orders.db").path == Path("/var/lib/orders.db")


def test_a_path_is_percent_decoded():
    assert options("sqlite:///my%20orders.db").path == Path("my orders.db")


def test_options_stand_behind_the_path():
    found = options("sqlite:///x.db?durability=normal&namespace=blue&busy_timeout=2.5")

    assert (found.durability, found.namespace, found.busy_timeout) == ("normal", "blue", 2.5)


def test_calls_survive_a_power_loss_unless_asked_otherwise():
    assert options("sqlite:///x.db").durability == "full"


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite://", "sqlite:///:memory:"])
def test_a_url_without_a_file_is_refused(url: str):
    with pytest.raises(InvalidProviderUrl, match="names no file"):
        options(url)


def test_two_slashes_are_refused_with_the_right_ways_to_write_it():
    with pytest.raises(InvalidProviderUrl, match="three slashes before a relative path"):
        options("sqlite://orders.db")


def test_the_path_is_not_an_option():
    with pytest.raises(InvalidProviderUrl, match="gives the file as an option"):
        options("sqlite:///x.db?path=y.db")


@pytest.mark.parametrize(
    "query", ["colour=red", "durability=some", "busy_timeout=-1", "busy_timeout=nan", "namespace="]
)
def test_an_unknown_or_impossible_option_is_refused(query: str):
    if query == "namespace=":
        with pytest.raises(ValidationError):
            SQLiteOptions(path=Path("x.db"), namespace="")
        return
    with pytest.raises(ValidationError):
        options(f"sqlite:///x.db?{query}")


@pytest.mark.parametrize("path", ["", ".", ":memory:"])
def test_options_given_directly_need_a_file_too(path: str):
    with pytest.raises(ValidationError, match=r"file"):
        SQLiteOptions(path=Path(path))


def test_the_description_is_the_url():
    url = "sqlite:////var/x.db?namespace=blue"

    assert options(url).description == url


def test_the_plugin_declares_the_scheme_and_all_capabilities():
    (spec,) = perdure_provider_specs()

    assert spec.scheme == "sqlite"
    shown = {"management", "persistent", "shared"}
    assert spec.capabilities == shown | SQLiteProvider.capabilities
    assert spec.options() is SQLiteOptions
    assert options(spec.example_url).path == Path("orders.db")


@pytest.mark.slow
def test_the_plugin_imports_no_driver():
    program = (
        "import sys, perdure_sqlite._plugin as p; p.perdure_provider_specs()[0].options();"
        "print([m for m in ('sqlalchemy', 'sqlite3') if m in sys.modules])"
    )

    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("url", ["sqlite:///x.db/", "sqlite:////var/x.db/", "sqlite:////"])
def test_a_path_that_ends_with_a_slash_is_refused(url: str):
    with pytest.raises(InvalidProviderUrl, match=r"slash|names no file"):
        options(url)


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(ValidationError, match="NUL"):
        SQLiteOptions(path=Path("x\0.db"))


async def test_a_relative_path_counts_from_where_the_provider_was_asked_for(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    by_url = perdure.open_provider("sqlite:///url.db")
    by_options = perdure.open_provider(SQLiteOptions(path=Path("options.db")))
    monkeypatch.chdir(tmp_path / "there")

    async with by_url, by_options:
        found = {path.name for path in (tmp_path / "here").glob("*.db")}

    assert found == {"url.db", "options.db"}
    assert not list((tmp_path / "there").iterdir())
