"""A backend: a storage that the suite opens provider objects on.

`find_backend` gives the backend of a URL. A provider's plugin module may give another one through
the hook `perdure_conformance_harness`: one that prepares its storage, cleans up after it, or offers
tampering.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, Self, cast, runtime_checkable
from urllib.parse import quote

import pluggy
from perdure.clock import Clock, SystemClock
from perdure.contract import CONTRACT, Provider, ProviderSpec, ProviderUrl, hookimpl
from perdure.errors import InvalidProviderUrl
from perdure.providers.loader import PROVIDER_GROUP, open_provider

hookspec = pluggy.HookspecMarker("perdure")

_LOGGER = logging.getLogger("perdure.conformance")

UNKNOWN = "unknown"
"""Stands for the distribution and version of a provider that is not installed."""

OPENING = 60.0
"""Real seconds after which opening a storage is given up."""


class Backend(Protocol):
    """A storage, as the suite needs it."""

    @property
    def declaration(self) -> Declaration:
        """What the provider declares."""
        ...

    @property
    def url(self) -> str | None:
        """A URL under which another process finds the same storage, if there is one."""
        ...

    def open(self, *, clock: Clock, namespace: str) -> AbstractAsyncContextManager[Provider]:
        """A provider object on this storage; each call gives another one."""
        ...


@runtime_checkable
class CleansUp(Protocol):
    """What a backend may have beside: it removes what a run has left in its storage."""

    async def clean_up(self, namespace: str) -> None:
        """Remove a namespace in which a check, or a measurement, is over.

        Its provider objects are closed. A killed process may have left it in any state.
        """
        ...


async def clean_up(backend: Backend, namespaces: Iterable[str]) -> None:
    """Let the backend remove namespaces, if it does; a failure is logged, and judges no check."""
    if not isinstance(backend, CleansUp):
        return
    for namespace in namespaces:
        try:
            async with asyncio.timeout(OPENING):
                await backend.clean_up(namespace)
        except Exception as error:  # noqa: BLE001 # whatever a harness raises
            _LOGGER.warning("the namespace %s was not cleaned up: %r", namespace, error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a provider declares about itself."""

    scheme: str
    contract: tuple[int, int]
    capabilities: frozenset[str]
    description: str
    """A text that identifies the storage for people, without secrets."""
    tampering: frozenset[str] = frozenset()
    """The kinds of tampering that the backend offers, by the names in `tampering`."""
    distribution: str = UNKNOWN
    version: str = UNKNOWN
    tested_on: str = ""
    """What the storage was, if it is not the one that users run, such as an emulator."""

    @classmethod
    def unknown(cls, scheme: str, description: str = UNKNOWN) -> Self:
        """The declaration of a provider that could not be opened."""
        return cls(
            scheme=scheme,
            contract=CONTRACT,
            capabilities=frozenset(),
            description=description,
        )


@hookspec(firstresult=True)
def perdure_conformance_harness(scheme: str, url: str, declaration: Declaration) -> Backend | None:  # pyright: ignore[reportReturnType] # a specification has no body
    """The backend to use for a URL of this scheme, or None for the usual one.

    `declaration` is what the provider declares; a backend that offers tampering adds that.
    Arguments that an implementation does not need may be left out of its signature.
    Implemented in a provider's plugin module with `hookimpl(optionalhook=True)`, since core does
    not know this hook.
    """


class UrlBackend:
    """Opens provider objects by URL, each namespace by the option that every provider has."""

    def __init__(self, url: str, declaration: Declaration) -> None:
        self.url: str | None = url
        self.declaration = declaration
        self._url = url

    def open(self, *, clock: Clock, namespace: str) -> AbstractAsyncContextManager[Provider]:
        """A provider object on this namespace of the storage."""
        return open_provider(with_namespace(self._url, namespace), clock=clock)


def with_namespace(url: str, namespace: str) -> str:
    """The URL of one namespace of the storage."""
    return f"{url}{'&' if '?' in url else '?'}namespace={quote(namespace, safe='')}"


class _SpecRecorder:
    """A plugin that records which provider is opened, and wraps nothing."""

    def __init__(self) -> None:
        self.spec: ProviderSpec | None = None

    @hookimpl
    def perdure_wrap_provider(self, spec: ProviderSpec) -> None:
        self.spec = spec


def find_backend(url: str, known: Declaration | None = None) -> Backend:
    """The backend of a URL. Opens the URL once, so that an unreachable storage fails here.

    With `known`, the declaration of this scheme from an earlier call, it does not open the URL.

    Raises `InvalidProviderUrl` for a URL with a namespace (the suite chooses its own),
    `TimeoutError` for one that does not open in time, and every error that opening it raises. Needs
    a thread without a running event loop.
    """
    parsed = ProviderUrl.parse(url)
    if "namespace" in parsed.query:
        raise InvalidProviderUrl(
            f"provider URL {parsed.masked!r} chooses a namespace; leave it out, the suite takes"
            " a fresh one for each check"
        )
    if known is None:
        declaration = asyncio.run(declare(url))
    else:
        declaration = replace(known, description=parsed.masked)
    return ask_harness(url, declaration) or UrlBackend(url, declaration)


async def declare(url: str) -> Declaration:
    """Open a URL once, and return what its provider declares."""
    recorder = _SpecRecorder()
    opened = open_provider(with_namespace(url, "probe"), clock=SystemClock(), plugins=[recorder])
    async with asyncio.timeout(OPENING), opened:
        spec = recorder.spec
    if spec is None:
        raise AssertionError("open_provider did not ask its plugins for wrappers")
    entry = entry_point(spec.scheme)
    found = None if entry is None else entry.dist
    return Declaration(
        scheme=spec.scheme,
        contract=spec.contract,
        capabilities=spec.capabilities,
        description=ProviderUrl.parse(url).masked,
        distribution=UNKNOWN if found is None else found.name,
        version=UNKNOWN if found is None else found.version,
    )


def entry_point(scheme: str) -> EntryPoint | None:
    """The entry point of a scheme's provider."""
    return next(iter(entry_points(group=PROVIDER_GROUP, name=scheme)), None)


def ask_harness(url: str, declaration: Declaration) -> Backend | None:
    """The backend from the provider's own plugin module, if it has one."""
    entry = entry_point(declaration.scheme)
    if entry is None:
        return None
    manager = pluggy.PluginManager("perdure")
    manager.add_hookspecs(_HookSpecs)
    manager.register(entry.load())
    found = manager.hook.perdure_conformance_harness(
        scheme=declaration.scheme, url=url, declaration=declaration
    )
    return cast("Backend | None", found)


class _HookSpecs:
    """The suite's hooks, as pluggy wants them."""

    perdure_conformance_harness = staticmethod(perdure_conformance_harness)
