"""Finding providers: every way in which it fails, and the one in which it does not."""

import re
import subprocess
import sys
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest
from perdure.contract import CONTRACT, DelegatingProvider, ManualClock, Provider, hookimpl
from perdure.errors import (
    AmbiguousProvider,
    ContractMismatch,
    InvalidInput,
    InvalidProviderOption,
    InvalidProviderUrl,
    ProviderImportFailed,
    ProviderLoadError,
    ProviderNotInstalled,
)
from perdure.providers.installed import installed_providers
from perdure.providers.loader import open_provider
from perdure.providers.plugins import create_plugin_manager, installed_plugins
from pydantic import BaseModel

ROOT = Path(__file__).parents[4]
PLUGIN = """
from contextlib import asynccontextmanager
from perdure.contract import ProviderSpec, hookimpl
from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    region: str = Field(default="eu", pattern="^[a-z]+$")
    pool_size: int = 1
    pin: SecretStr | None = Field(default=None, max_length=4)
    namespace: str = "default"

    @classmethod
    def from_url(cls, url):
        return cls.model_validate(dict(url.query))


@asynccontextmanager
async def open_it(options, *, clock):
    {opening}
    from perdure_memory import MemoryProvider
    yield MemoryProvider(clock=clock)


@hookimpl
def perdure_provider_specs():
    return [
        ProviderSpec(
            scheme="{scheme}",
            contract={contract},
            capabilities=frozenset(),
            options=lambda: Options,
            open=open_it,
            example_url="{scheme}://",
        )
    ]
"""


def plugin_source(*, scheme="fake", contract=CONTRACT, opening="pass", extra=""):
    return PLUGIN.format(scheme=scheme, contract=contract, opening=opening) + dedent(extra)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution with one plugin module, and gives the module's name."""
    numbers = count(1)
    modules = []

    def do_install(
        source, *, distribution="perdure-fake", scheme="fake", group="perdure.providers"
    ):
        module = f"fake_plugin_{next(numbers)}"
        site = tmp_path / module
        information = site / f"{distribution.replace('-', '_')}-1.2.3.dist-info"
        information.mkdir(parents=True)
        information.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2.3\n"
        )
        information.joinpath("entry_points.txt").write_text(f"[{group}]\n{scheme} = {module}\n")
        site.joinpath(f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        modules.append(module)
        return module

    yield do_install
    for module in modules:
        sys.modules.pop(module, None)


async def opening_error(url, **arguments):
    """The error that opening raises."""
    with pytest.raises(ProviderLoadError) as caught:
        async with open_provider(url, **arguments):
            pass
    return caught.value


async def test_a_memory_url_opens_the_memory_provider_on_the_given_clock():
    clock = ManualClock()

    async with open_provider("memory://", clock=clock) as provider:
        assert isinstance(provider, Provider)
        assert provider.clock is clock
        assert await provider.read_instance("a") is None


async def test_typed_options_open_the_provider_that_takes_them():
    from perdure_memory import MemoryOptions

    async with open_provider(MemoryOptions(namespace="orders")) as provider:
        assert repr(provider) == "<MemoryProvider memory://?namespace=orders>"


async def test_typed_options_are_found_though_another_plugin_is_broken(install):
    install("raise RuntimeError('broken')", scheme="aaa")
    module = install(plugin_source(), distribution="perdure-other")
    options = __import__(module).Options(region="us")

    async with open_provider(options) as provider:
        assert isinstance(provider, Provider)


async def test_options_of_no_provider_are_refused():
    class Strange(BaseModel):
        pass

    error = await opening_error(Strange())

    assert isinstance(error, ProviderNotInstalled)
    assert "Strange" in str(error)


@pytest.mark.parametrize("url", ["orders.db", "sqlite:orders.db", "://x", "1a://x", "a b://x"])
async def test_what_is_no_url_is_refused_with_an_example(url):
    error = await opening_error(url)

    assert isinstance(error, InvalidProviderUrl)
    assert "sqlite:///orders.db" in str(error)


async def test_a_known_provider_that_is_not_installed_comes_with_its_install_line(monkeypatch):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    error = await opening_error("sqlite:///orders.db")

    assert isinstance(error, ProviderNotInstalled)
    assert "`pip install perdure-sqlite`" in str(error)
    (in_a_clone,) = re.findall(r"`pip install (\./\S+)` in a clone", str(error))
    assert (ROOT / in_a_clone / "pyproject.toml").exists()


@pytest.mark.parametrize(
    ("url", "hint"), [("memroy://", "did you mean 'memory'?"), ("faek://", "did you mean 'fake'?")]
)
async def test_a_misspelt_scheme_is_answered_with_the_right_one(install, url, hint):
    install(plugin_source())
    error = await opening_error(url)

    assert isinstance(error, ProviderNotInstalled)
    assert hint in str(error)


async def test_two_distributions_of_one_scheme_are_both_named(install):
    install(plugin_source())
    install(plugin_source(), distribution="perdure-rival")
    error = await opening_error("fake://")

    assert isinstance(error, AmbiguousProvider)
    assert "perdure-fake 1.2.3" in str(error)
    assert "perdure-rival 1.2.3" in str(error)
    assert "pip uninstall" in str(error)


async def test_a_plugin_that_cannot_be_imported_keeps_the_cause(install):
    install("import a_driver_that_is_not_there")
    error = await opening_error("fake://")

    assert isinstance(error, ProviderImportFailed)
    assert isinstance(error.__cause__, ModuleNotFoundError)
    assert "perdure-fake 1.2.3" in str(error)
    assert "'fake' = 'fake_plugin_1'" in str(error)


async def test_a_broken_plugin_does_not_hurt_another_scheme(install):
    install("raise RuntimeError('broken')")

    async with open_provider("memory://") as provider:
        assert isinstance(provider, Provider)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "declares no provider at all"),
        (plugin_source(scheme="another"), "declares 'another' instead of 'fake'"),
        (plugin_source().replace("options=lambda: Options,", ""), "missing 1 required"),
        (plugin_source().replace("def from_url", "def from_text"), "lacks the class method"),
        (plugin_source().replace("lambda: Options", "lambda: 1 / 0"), "ZeroDivisionError"),
        (
            plugin_source(extra="@hookimpl\ndef perdure_wrap_provders(spec): ..."),
            "did you mean 'perdure_wrap_provider'?",
        ),
        (
            plugin_source(extra="@hookimpl\ndef perdure_wrap_provider(specification): ..."),
            "specification",
        ),
    ],
)
async def test_a_module_that_is_no_provider_plugin_is_refused_with_the_reason(
    install, source, reason
):
    install(source)
    error = await opening_error("fake://")

    assert isinstance(error, ProviderImportFailed)
    assert reason in str(error)
    assert "pip install" in str(error)


async def test_a_hook_of_another_project_may_be_optional(install):
    install(plugin_source(extra="@hookimpl(optionalhook=True)\ndef perdure_conformance(): ..."))

    async with open_provider("fake://") as provider:
        assert isinstance(provider, Provider)


async def test_a_missing_driver_is_an_import_failure(install):
    install(plugin_source(opening="import a_driver_that_is_not_there"))
    error = await opening_error("fake://")

    assert isinstance(error, ProviderImportFailed)
    assert isinstance(error.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("contract", "upgrade"),
    [
        ((CONTRACT[0] + 1, 0), "perdure"),
        ((CONTRACT[0], CONTRACT[1] + 1), "perdure"),
        ((CONTRACT[0] - 1, 9), "perdure-fake"),
    ],
)
async def test_a_contract_out_of_range_says_which_side_to_upgrade(install, contract, upgrade):
    install(plugin_source(contract=contract, extra="@hookimpl\ndef perdure_new_hook(): ..."))
    error = await opening_error("fake://")

    assert isinstance(error, ContractMismatch)
    assert f"`pip install --upgrade {upgrade}`" in str(error)
    assert f"{contract[0]}.{contract[1]}" in str(error)


async def test_an_older_minor_version_of_the_contract_is_served(install, monkeypatch):
    monkeypatch.setattr("perdure.providers.loader.CONTRACT", (CONTRACT[0], CONTRACT[1] + 3))
    install(plugin_source())

    async with open_provider("fake://") as provider:
        assert isinstance(provider, Provider)


async def test_an_unknown_option_is_answered_with_the_valid_ones(install):
    install(plugin_source())
    error = await opening_error("fake://?pol_size=3")

    assert isinstance(error, InvalidProviderOption)
    assert "did you mean 'pool_size'?" in str(error)
    assert "region, pool_size, pin, namespace" in str(error)
    assert "perdure-fake 1.2.3" in str(error)


async def test_an_option_that_cannot_have_its_value_is_named_with_the_reason(install):
    install(plugin_source())
    error = await opening_error("fake://?pool_size=many")

    assert isinstance(error, InvalidProviderOption)
    assert "'pool_size'" in str(error)
    assert "integer" in str(error)
    assert "'fake://?pool_size=many'" in str(error)


@pytest.mark.parametrize("wrong", [None, 5, b"memory://", object()])
async def test_what_is_neither_a_url_nor_options_is_answered_with_a_url(wrong):
    error = await opening_error(wrong)

    assert isinstance(error, InvalidProviderUrl)
    assert "write it like 'sqlite:///orders.db'" in str(error)


@pytest.mark.parametrize("scheme", ["dynamodb", "memory", "postgresql", "sqlite"])
async def test_the_advice_for_a_provider_of_ours_names_its_directory_in_a_clone(
    scheme, monkeypatch
):
    monkeypatch.setattr("perdure.providers.loader.entry_points", lambda group: [])
    error = await opening_error(f"{scheme}://")

    advised = re.search(r"pip install \./(\S+)`", str(error))
    assert advised is not None
    assert ROOT.joinpath(advised[1], "pyproject.toml").is_file()


async def test_no_secret_is_in_an_error_or_in_what_it_carries(install):
    install(plugin_source())
    error = await opening_error("fake://user:hunter2@host?pin=hunter2")

    assert isinstance(error, InvalidProviderOption)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "hunter2" not in str(error)


async def test_options_that_are_secret_by_type_are_masked_in_the_url(install):
    source = plugin_source().replace(
        "return cls.model_validate(dict(url.query))",
        "from perdure.errors import InvalidProviderUrl; raise InvalidProviderUrl(repr(url))",
    )
    install(source)
    error = await opening_error("fake://?pin=1234&region=eu")

    assert str(error) == "ProviderUrl('fake://?pin=***&region=eu')"


async def test_the_provider_is_closed_when_the_block_ends_or_fails(install):
    source = plugin_source().replace(
        "    yield MemoryProvider(clock=clock)",
        "    try:\n        yield MemoryProvider(clock=clock)\n    finally:\n        closed.append(1)",
    )
    module = install("closed = []\n" + source)

    async with open_provider("fake://"):
        pass
    with pytest.raises(ZeroDivisionError):
        async with open_provider("fake://"):
            raise ZeroDivisionError

    assert sys.modules[module].closed == [1, 1]


class Wrapping:
    """A plugin that wraps providers in a class of its own."""

    def __init__(self, name):
        self.wrapper = type(name, (DelegatingProvider,), {})

    @hookimpl
    def perdure_wrap_provider(self, spec):
        return self.wrapper if spec.scheme == "memory" else None


async def test_wrappers_wrap_each_other_the_first_innermost():
    plugins = [Wrapping("Inner"), Wrapping("Outer")]

    async with open_provider("memory://", plugins=plugins) as provider:
        names = [type(provider).__name__, type(provider.inner).__name__]
    assert names == ["Outer", "Inner"]


async def test_a_plugin_that_wraps_nothing_leaves_the_provider_as_it_is(install):
    install(plugin_source())

    async with open_provider("fake://", plugins=[Wrapping("Unused")]) as provider:
        assert type(provider).__name__ == "MemoryProvider"


async def test_a_wrapper_that_returns_no_provider_is_refused():
    class Wrong:
        @hookimpl
        def perdure_wrap_provider(self, spec):
            return lambda provider: None

    with pytest.raises(InvalidInput, match="must return a Provider"):
        async with open_provider("memory://", plugins=[Wrong()]):
            pass


def test_what_is_no_plugin_is_refused_with_the_reason():
    class Misspelt:
        @hookimpl
        def perdure_wrap_provders(self, spec): ...

    class WrongArgument:
        @hookimpl
        def perdure_observe(self, happening): ...

    twice = Wrapping("Twice")

    with pytest.raises(InvalidInput, match="did you mean 'perdure_wrap_provider'"):
        create_plugin_manager([Misspelt()])
    with pytest.raises(InvalidInput, match="happening"):
        create_plugin_manager([WrongArgument()])
    with pytest.raises(InvalidInput, match="implements no hook"):
        create_plugin_manager([object()])
    with pytest.raises(InvalidInput, match="given twice"):
        create_plugin_manager([twice, twice])


def test_installed_plugins_are_used_on_request_only(install):
    source = "from perdure.contract import hookimpl\n@hookimpl\ndef perdure_observe(event): ..."
    module = install(source, scheme="metrics", group="perdure.plugins")

    assert not create_plugin_manager().get_plugins()
    [plugin] = installed_plugins("metrics")
    assert plugin is sys.modules[module]
    assert plugin in installed_plugins()
    with pytest.raises(InvalidInput, match="installed are 'metrics'"):
        installed_plugins("metric")


def test_an_installed_plugin_that_cannot_be_imported_is_named(install):
    install("raise RuntimeError('broken')", scheme="metrics", group="perdure.plugins")

    with pytest.raises(ProviderImportFailed, match=r"perdure-fake 1\.2\.3"):
        installed_plugins()


@pytest.mark.slow
def test_importing_the_loader_imports_no_provider_and_no_driver():
    program = dedent(
        """
        import sys
        import perdure, perdure.providers.loader
        names = {name.partition(".")[0] for name in sys.modules}
        found = names & {"perdure_memory", "perdure_sqlite", "perdure_dynamodb", "sqlalchemy",
                         "aiosqlite", "aioboto3", "botocore"}
        sys.exit(", ".join(sorted(found)) or None)
        """
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert run.returncode == 0, run.stderr


def test_installed_providers_are_listed_and_a_broken_one_with_what_is_wrong(install):
    install(plugin_source(scheme="aaa"), scheme="aaa", distribution="perdure-aaa")
    install("raise RuntimeError('broken')", scheme="bbb", distribution="perdure-bbb")

    found = {each.scheme: each for each in installed_providers()}

    assert {"memory", "sqlite"} <= set(found)
    assert found["memory"].contract == f"{CONTRACT[0]}.{CONTRACT[1]}"
    assert "management" in found["memory"].capabilities
    assert (found["aaa"].distribution, found["aaa"].problem) == ("perdure-aaa", None)
    assert "broken" in (found["bbb"].problem or "")
    assert list(found) == sorted(found)
