"""Finding and opening the provider for a URL or an options object.

Only the requested provider is imported, so a broken package does not affect others. Two packages
that claim the same scheme are an error. Every failure has its own class; its message names the
distribution, its version, the entry point and what to do next, and never shows a secret. Nothing is
kept from one call to the next.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pluggy

from perdure.clock import Clock, SystemClock
from perdure.contract import CONTRACT, Provider, ProviderSpec, ProviderUrl, UrlOptions
from perdure.contract.hooks import ProviderWrapper
from perdure.errors import (
    AmbiguousProvider,
    ContractMismatch,
    InvalidInput,
    InvalidProviderOption,
    ProviderImportFailed,
    ProviderLoadError,
    ProviderNotInstalled,
)
from perdure.model.identifiers import check_identifier
from perdure.model.record import record
from perdure.model.settings import require
from perdure.model.shown import shown
from perdure.providers.plugins import (
    create_plugin_manager,
    describe,
    distribution,
    entry_points,
    load_entry_point,
    refuse_unknown_hooks,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pydantic import BaseModel

    from perdure.codecs.codec import PayloadCodec

PROVIDER_GROUP = "perdure.providers"
"""The entry point group of providers; the name of an entry is the URL scheme."""

_KNOWN = {
    "dynamodb": "perdure-dynamodb",
    "postgresql": "perdure-postgres",
    "memory": "perdure-memory",
    "sqlite": "perdure-sqlite",
}
"""The distributions of known schemes, for install hints."""


@record
class FoundProvider:
    """A provider that was found and imported."""

    entry: EntryPoint
    spec: ProviderSpec


def open_provider(
    url_or_options: str | BaseModel,
    *,
    clock: Clock | None = None,
    plugins: Sequence[object] = (),
    create: bool = True,
    codec: PayloadCodec | Sequence[PayloadCodec] = (),
) -> AbstractAsyncContextManager[Provider]:
    """Open the provider for a URL, or for an options object.

    The provider is open while the context lasts. Errors in the arguments are raised at the call, and
    errors of the storage when the context is entered. `clock` is the provider's only source of time;
    the default is the system clock. The wrappers of `plugins` are applied in their order, the first
    innermost. Installed plugins are used only if you pass them: see `installed_plugins`. With
    `create=False` a storage that does not exist is not created: entering the context raises
    `StorageFailed`, so that a misspelt URL is not taken for an empty storage. `codec` encodes payloads
    on their way to the storage, each codec what those before it made; the wrappers of plugins see
    them in clear. See `perdure.codecs`.

    Raises a `ProviderLoadError` if the provider cannot be found or loaded, `InvalidInput` for an
    object that is not a plugin or a codec, and the `ProviderError` that the provider raises when it
    opens its storage.
    """
    opener = find_provider(url_or_options, plugins=plugins, codec=codec)
    if not create:
        opener = opener.without_creating()
    if clock is not None:
        require(clock, Clock, "clock", "pass a SystemClock() or a ManualClock()")
    return opener.open(clock or SystemClock())


@record(kw_only=False)
class ProviderOpener:
    """A provider that was found, with its options: `open` may be called again and again."""

    _found: FoundProvider
    _options: BaseModel
    _manager: pluggy.PluginManager
    _encoding: ProviderWrapper

    def open(self, clock: Clock) -> AbstractAsyncContextManager[Provider]:
        """The provider is open while the context lasts."""
        return _open(self._found, self._options, clock, self._manager, self._encoding)

    def without_creating(self) -> ProviderOpener:
        """The same, without creating a storage that does not exist; see `UrlOptions`."""
        if not hasattr(self._options, "create"):
            return self
        return replace(self, _options=self._options.model_copy(update={"create": False}))


def find_provider(
    url_or_options: str | BaseModel,
    *,
    plugins: Sequence[object] = (),
    codec: PayloadCodec | Sequence[PayloadCodec] = (),
) -> ProviderOpener:
    """Find and import the provider, and check its options; raises what `open_provider` raises."""
    manager = create_plugin_manager(plugins)
    encoding = _encoding_by(codec)
    if isinstance(url_or_options, str):
        found = _find_by_scheme(ProviderUrl.parse(url_or_options).scheme)
        options = _read_options(found, url_or_options)
    else:
        options = url_or_options
        found = _find_by_options(options)
    _check_namespace(options)
    return ProviderOpener(found, options, manager, encoding)


@asynccontextmanager
async def _open(
    found: FoundProvider,
    options: BaseModel,
    clock: Clock,
    manager: pluggy.PluginManager,
    encoding: ProviderWrapper,
) -> AsyncGenerator[Provider]:
    async with AsyncExitStack() as stack:
        try:
            opened = found.spec.open(options, clock=clock)
            provider = await stack.enter_async_context(opened)
        except ImportError as error:
            raise _import_failed(found.entry, f"could not import its driver: {error}") from error
        wrapped = _wrap(manager, found.spec, encoding(provider))
        async with wrapped.event_loop.opened():
            yield wrapped


def _encoding_by(codec: PayloadCodec | Sequence[PayloadCodec]) -> ProviderWrapper:
    if codec == ():
        return lambda provider: provider
    # Imported here, because most programs use no codec.
    from perdure.codecs.provider import encoding_by

    return encoding_by(codec)


def _find_by_scheme(scheme: str) -> FoundProvider:
    entries = [entry for entry in entry_points(PROVIDER_GROUP) if entry.name == scheme]
    if not entries:
        raise _not_installed(scheme)
    if len(entries) > 1:
        claims = " and ".join(describe(entry) for entry in entries)
        raise AmbiguousProvider(
            f"scheme {scheme!r} is claimed by {claims}; keep one and remove the other with"
            f" `pip uninstall {distribution(entries[-1])}`"
        )
    return load_provider(entries[0])


def _check_namespace(options: BaseModel) -> None:
    """Check the namespace by the same rule for all providers."""
    namespace = getattr(options, "namespace", None)
    if namespace is None:
        return
    try:
        check_identifier(namespace, "namespace")
    except InvalidInput as error:
        raise InvalidProviderOption(str(error)) from None


def _find_by_options(options: BaseModel) -> FoundProvider:
    """The provider with this options model; the model's own package is imported first."""
    kind = type(options)
    if not hasattr(kind, "model_fields"):
        ProviderUrl.parse(cast("str", options))  # raises
    home = kind.__module__.partition(".")[0]
    entries = sorted(
        entry_points(PROVIDER_GROUP),
        key=lambda entry: entry.module.partition(".")[0] != home,
    )
    for entry in entries:
        try:
            found = load_provider(entry)
            if _options_model(found) is kind:
                return found
        except ProviderLoadError:
            if entry.module.partition(".")[0] == home:
                raise
    schemes = ", ".join(sorted(entry.name for entry in entries)) or "none"
    raise ProviderNotInstalled(
        f"no installed provider takes options of type {kind.__module__}.{kind.__qualname__};"
        f" installed are {schemes}: pass the options model of one of these, or a URL"
    )


def load_provider(entry: EntryPoint) -> FoundProvider:
    """Import the provider of an entry point; raises a `ProviderLoadError`."""
    plugin = load_entry_point(entry)
    manager = create_plugin_manager()
    try:
        manager.register(plugin)
        answers = cast("list[Sequence[object]]", manager.hook.perdure_provider_specs())
        specs = [spec for answer in answers for spec in answer if isinstance(spec, ProviderSpec)]
    except Exception as error:
        raise _import_failed(
            entry, f"is not a provider plugin: {type(error).__name__}: {error}"
        ) from error
    for spec in specs:
        if spec.scheme == entry.name:
            _check_contract(entry, spec)
            _refuse_unknown_hooks(entry, manager, plugin)
            return FoundProvider(entry=entry, spec=spec)
    declared = ", ".join(repr(spec.scheme) for spec in specs) or "no provider at all"
    raise _import_failed(
        entry,
        f"declares {declared} instead of {entry.name!r}: its perdure_provider_specs must return a"
        " ProviderSpec of that scheme",
    )


def _check_contract(entry: EntryPoint, spec: ProviderSpec) -> None:
    major, minor = spec.contract
    if major == CONTRACT[0] and minor <= CONTRACT[1]:
        return
    outdated = "perdure" if spec.contract > CONTRACT else distribution(entry)
    raise ContractMismatch(
        f"{describe(entry)} was written for version {major}.{minor} of the provider contract, and"
        f" this perdure serves {CONTRACT[0]}.{CONTRACT[1]}; upgrade with"
        f" `pip install --upgrade {outdated}`"
    )


def _refuse_unknown_hooks(entry: EntryPoint, manager: pluggy.PluginManager, plugin: object) -> None:
    try:
        refuse_unknown_hooks(manager, plugin)
    except InvalidInput as error:
        raise _import_failed(entry, f"is not a provider plugin: {error}") from error


def _options_model(found: FoundProvider) -> type[BaseModel]:
    try:
        return found.spec.options()
    except Exception as error:
        raise _import_failed(
            found.entry, f"could not give its options: {type(error).__name__}: {error}"
        ) from error


def _read_options(found: FoundProvider, text: str) -> BaseModel:
    # Reading options needs the whole of pydantic, which importing perdure must not wait for.
    from perdure.providers.options import read_options

    model = _options_model(found)
    if not issubclass(model, UrlOptions):
        raise _import_failed(
            found.entry,
            f"has options of type {model.__qualname__}, which lacks the class method from_url",
        )
    version = "of unknown version" if found.entry.dist is None else found.entry.dist.version
    provider = f"{found.entry.name!r} ({distribution(found.entry)} {version})"
    return read_options(model, model.from_url, text, provider=provider)


def _wrap(manager: pluggy.PluginManager, spec: ProviderSpec, provider: Provider) -> Provider:
    # Pluggy calls the plugin that was registered last first.
    answers = cast("list[ProviderWrapper]", manager.hook.perdure_wrap_provider(spec=spec))
    for wrapper in reversed(answers):
        wrapped = cast("object", wrapper(provider))
        if not isinstance(wrapped, Provider):
            raise InvalidInput(
                f"provider wrapper {shown(wrapper)} returned {shown(wrapped)}; it must return a Provider"
            )
        provider = wrapped
    return provider


def _not_installed(scheme: str) -> ProviderNotInstalled:
    installed = sorted({entry.name for entry in entry_points(PROVIDER_GROUP)})
    if scheme in _KNOWN:
        advice = _installing(scheme)
    else:
        close = difflib.get_close_matches(scheme, {*installed, *_KNOWN}, n=1)
        advice = f"did you mean {close[0]!r}? " if close else ""
        if close and close[0] not in installed:
            advice += f"{_installing(close[0])}; else "
        advice += "install the distribution that provides it"
    return ProviderNotInstalled(
        f"no provider of scheme {scheme!r} is installed (entry point group {PROVIDER_GROUP!r});"
        f" {advice}; installed are {', '.join(installed) or 'none'}"
    )


def _installing(scheme: str) -> str:
    """How to install a provider of ours, from a release and from what is not released."""
    return (
        f"run `pip install {_KNOWN[scheme]}`, or"
        f" `pip install ./packages/{_KNOWN[scheme].replace('perdure', 'provider')}` in a clone of Perdure"
    )


def _import_failed(entry: EntryPoint, what: str) -> ProviderImportFailed:
    return ProviderImportFailed(
        f"{describe(entry)} {what}; repair it with"
        f" `pip install --upgrade --force-reinstall {distribution(entry)}`"
    )
