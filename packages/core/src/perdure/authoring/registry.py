"""The registry: which functions are orchestrations and activities, under which names.

Decorators fill a registry when modules are imported; a runtime is given the registries that it
serves. A decorator returns the function itself and marks it with its name and types, so that the
function can stand for its name in calls. No state is global: each registry is on its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import timedelta
from types import FrameType
from typing import TypeVar, cast, overload

from perdure.authoring.aliases import Aliases, checked_aliases
from perdure.authoring.determinism import find_nondeterminism
from perdure.authoring.functions import (
    ACTIVITY_ATTRIBUTE,
    ORCHESTRATION_ATTRIBUTE,
    ActivityDefinition,
    ActivityReference,
    OrchestrationDefinition,
    OrchestrationReference,
    is_async,
    own_name,
    read_signature,
    where_defined,
)
from perdure.authoring.retry import RetryPolicy
from perdure.errors import DuplicateRegistration, InvalidSignature, NondeterministicCode
from perdure.model.comparison import Compare, check_compare
from perdure.model.durations import to_duration
from perdure.model.identifiers import check_identifier
from perdure.model.record import record
from perdure.model.settings import require, to_exceptions, to_flag, to_items
from perdure.model.shown import shown
from perdure.model.versions import DEFAULT_VERSION, check_version

F = TypeVar("F", bound=Callable[..., object])
OrchestrationFunction = TypeVar("OrchestrationFunction", bound=Callable[..., Awaitable[object]])


class Registry:
    """Orchestrations and activities by name, and orchestrations by version too.

    A name, or a name and version, that is registered already is refused with
    `DuplicateRegistration`. With `replace=True` the later registration takes the place of the
    earlier one, as in a notebook whose cells are run again. A runtime keeps what was registered
    when it was made.
    """

    def __init__(self, *, replace: bool = False) -> None:
        self._replace = to_flag(replace, "replace")
        self._activities: dict[str, ActivityDefinition] = {}
        self._orchestrations: dict[tuple[str, str], OrchestrationDefinition] = {}
        self._activity_aliases = Aliases("activity")
        self._orchestration_aliases = Aliases("orchestration")

    @overload
    def activity(self, function: F, /) -> F: ...
    @overload
    def activity(
        self,
        /,
        *,
        name: str | None = None,
        aliases: Collection[str] = (),
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        compare: Compare | None = None,
        cancel_grace: timedelta | float | None = None,
        transactional: bool = False,
    ) -> Callable[[F], F]: ...
    def activity(
        self,
        function: Callable[..., object] | None = None,
        /,
        *,
        name: str | None = None,
        aliases: Collection[str] = (),
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        compare: Compare | None = None,
        cancel_grace: timedelta | float | None = None,
        transactional: bool = False,
    ) -> Callable[..., object]:
        """Register a function as an activity, under its own name or `name`.

        An `async def` runs in the event loop, a plain `def` in a thread. Its parameters are its
        input: none, one, or several, with defaults and by keyword; `*args`, `**kwargs` and
        several parameters by position only are refused. `aliases` are former names: histories and
        queued work that have them run this function. `retry` and `tag` are what a call means that
        does not say otherwise. `compare` says what happens where a
        replay passes it another input than the history has; it counts above the setting of the
        orchestration and of the runtime. `cancel_grace` is how long an async activity goes on
        after it was told that its result is not wanted any more, before it gets
        `CancelledError`; without it, the runtime's setting counts. A `transactional` activity writes
        with `activity_context().connection`, whose transaction is committed together with its
        result; it needs a provider with the capability `transactions`.
        Raises `InvalidSignature`, `InvalidInput` or `DuplicateRegistration`.
        """
        frame = _caller()
        settings = _activity_settings(
            aliases, retry, tag, compare, cancel_grace, transactional=transactional
        )
        if function is not None:
            self._add_activity(function, name, settings, frame)
            return function

        def decorate(function: Callable[..., object]) -> Callable[..., object]:
            self._add_activity(function, name, settings, frame)
            return function

        return decorate

    def register_activity(
        self,
        function: Callable[..., object],
        *,
        name: str,
        aliases: Collection[str] = (),
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        compare: Compare | None = None,
        cancel_grace: timedelta | float | None = None,
        transactional: bool = False,
    ) -> None:
        """Register any callable, such as a bound method, as an activity under `name`.

        As `activity` otherwise.
        """
        settings = _activity_settings(
            aliases, retry, tag, compare, cancel_grace, transactional=transactional
        )
        self._add_activity(function, name, settings, _caller())

    @overload
    def orchestration(self, function: OrchestrationFunction, /) -> OrchestrationFunction: ...
    @overload
    def orchestration(
        self,
        /,
        *,
        name: str | None = None,
        aliases: Collection[str] = (),
        version: str = DEFAULT_VERSION,
        allow: Collection[str] = (),
        compare: Compare | None = None,
        park_on: Collection[type[BaseException]] = (),
    ) -> Callable[[OrchestrationFunction], OrchestrationFunction]: ...
    def orchestration(
        self,
        function: Callable[..., Awaitable[object]] | None = None,
        /,
        *,
        name: str | None = None,
        aliases: Collection[str] = (),
        version: str = DEFAULT_VERSION,
        allow: Collection[str] = (),
        compare: Compare | None = None,
        park_on: Collection[type[BaseException]] = (),
    ) -> Callable[..., object]:
        """Register an `async def` as an orchestration.

        Its first parameter is the context. The others are its input, as with an activity.
        `aliases` are former names: instances that have them run this function. `version` is a
        semantic version. `allow` names uses such as `"time.time"` that are known
        to be harmless where they stand. `compare` says what happens where a replay asks with
        other values than the history has; it counts above the setting of the runtime.
        `park_on` names errors that do not end an instance: where nothing catches one, the instance is
        parked with the reason `raised`, tried again later and later, and goes on as soon as repaired
        code is deployed. Raises `InvalidSignature`, `InvalidInput`, `NondeterministicCode` or
        `DuplicateRegistration`.
        """
        frame = _caller()
        settings = _OrchestrationSettings(
            compare=_checked(compare), park_on=to_exceptions(park_on, "park_on")
        )
        if function is not None:
            self._add_orchestration(function, name, aliases, version, allow, settings, frame)
            return function

        def decorate(
            function: Callable[..., Awaitable[object]],
        ) -> Callable[..., Awaitable[object]]:
            self._add_orchestration(function, name, aliases, version, allow, settings, frame)
            return function

        return decorate

    def include(self, other: Registry) -> None:
        """Register everything that another registry has; raises `DuplicateRegistration`."""
        require(other, Registry, "registry", "pass the Registry that functions are registered in")
        for activity in other._activities.values():
            self._store_activity(activity)
        for orchestration in other._orchestrations.values():
            self._store_orchestration(orchestration)

    def activities(self) -> Iterator[ActivityDefinition]:
        """All activities."""
        return iter(tuple(self._activities.values()))

    def orchestrations(self) -> Iterator[OrchestrationDefinition]:
        """All orchestrations, in all versions."""
        return iter(tuple(self._orchestrations.values()))

    def aliases_of_activities(self) -> Mapping[str, str]:
        """The name of the activity that each alias stands for."""
        return dict(self._activity_aliases.names)

    def aliases_of_orchestrations(self) -> Mapping[str, str]:
        """The name of the orchestration that each alias stands for."""
        return dict(self._orchestration_aliases.names)

    def _add_activity(
        self,
        function: Callable[..., object],
        name: str | None,
        settings: _ActivitySettings,
        frame: FrameType,
    ) -> None:
        chosen = _chosen_name(function, name, "activity", ACTIVITY_ATTRIBUTE)
        signature = read_signature(function, chosen, takes_context=False, frame=frame)
        reference = ActivityReference(
            name=chosen,
            parameters=signature.parameters,
            result_type=signature.result_type,
            retry=settings.retry,
            tag=settings.tag,
        )
        self._store_activity(
            ActivityDefinition(
                reference=reference,
                function=function,
                asynchronous=is_async(function),
                where=where_defined(function),
                aliases=checked_aliases(settings.aliases, chosen, "activity"),
                compare=settings.compare,
                cancel_grace=settings.cancel_grace,
                transactional=settings.transactional,
            )
        )
        _mark(function, ACTIVITY_ATTRIBUTE, reference)

    def _add_orchestration(
        self,
        function: Callable[..., Awaitable[object]],
        name: str | None,
        aliases: Collection[str],
        version: str,
        allow: Collection[str],
        settings: _OrchestrationSettings,
        frame: FrameType,
    ) -> None:
        chosen = _chosen_name(function, name, "orchestration", ORCHESTRATION_ATTRIBUTE)
        check_version(version)
        signature = read_signature(function, chosen, takes_context=True, frame=frame)
        _refuse_nondeterminism(function, chosen, allow)
        reference = OrchestrationReference(
            name=chosen,
            version=version,
            parameters=signature.parameters,
            result_type=signature.result_type,
        )
        self._store_orchestration(
            OrchestrationDefinition(
                reference=reference,
                function=function,
                where=where_defined(function),
                aliases=checked_aliases(aliases, chosen, "orchestration"),
                compare=settings.compare,
                park_on=settings.park_on,
            )
        )
        _mark(function, ORCHESTRATION_ATTRIBUTE, reference)

    def _store_activity(self, definition: ActivityDefinition) -> None:
        self._activity_aliases.add(
            definition.name, definition.aliases, self._activities, replace=self._replace
        )
        known = self._activities.setdefault(definition.name, definition)
        if self._replace:
            self._activities[definition.name] = definition
        elif known.function != definition.function:
            raise DuplicateRegistration(
                f"activity {definition.name!r} is registered twice, at {known.where} and at"
                f" {definition.where}; give one of them another name"
            )

    def _store_orchestration(self, definition: OrchestrationDefinition) -> None:
        names = {name for name, _ in self._orchestrations}
        self._orchestration_aliases.add(
            definition.name, definition.aliases, names, replace=self._replace
        )
        key = (definition.name, definition.version)
        known = self._orchestrations.setdefault(key, definition)
        if self._replace:
            self._orchestrations[key] = definition
        elif known.function != definition.function:
            raise DuplicateRegistration(
                f"orchestration {definition.name!r} version {definition.version} is registered"
                f" twice, at {known.where} and at {definition.where}; give one of them another"
                " name or version"
            )


@record
class _OrchestrationSettings:
    """What a registration says of an orchestration besides its name and version."""

    compare: Compare | None
    park_on: tuple[type[BaseException], ...]


@record
class _ActivitySettings:
    """What a registration says of an activity besides its name."""

    aliases: Collection[str]
    retry: RetryPolicy | None
    tag: str | None
    compare: Compare | None
    cancel_grace: timedelta | None
    transactional: bool


def _activity_settings(
    aliases: Collection[str],
    retry: RetryPolicy | None,
    tag: str | None,
    compare: Compare | None,
    cancel_grace: timedelta | float | None,
    *,
    transactional: bool,
) -> _ActivitySettings:
    """The settings, checked; raises `InvalidInput`."""
    if retry is not None:
        require(retry, RetryPolicy, "retry", "pass RetryPolicy(max_attempts=…)")
    return _ActivitySettings(
        aliases=aliases,
        retry=retry,
        tag=None if tag is None else check_identifier(tag, "tag"),
        compare=_checked(compare),
        cancel_grace=None if cancel_grace is None else to_duration(cancel_grace, "cancel_grace"),
        transactional=to_flag(transactional, "transactional"),
    )


def _checked(compare: Compare | None) -> Compare | None:
    return None if compare is None else check_compare(compare)


def _caller() -> FrameType:
    """The frame that called the public method, for the names that are local to it."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals is globals():
        frame = frame.f_back
    assert frame is not None  # noqa: S101 # the caller is outside of this module
    return frame


def _refuse_nondeterminism(
    function: Callable[..., object], name: str, allow: Collection[str]
) -> None:
    allowed = to_items(allow, "allow", example='("time.time",)')
    for use in allowed:
        require(use, str, "allow", 'pass the names of uses, such as "time.time"')
    found = find_nondeterminism(function, allowed)
    if found:
        uses = "; ".join(f"{use.name} at {use.file}:{use.line}, use {use.instead}" for use in found)
        raise NondeterministicCode(
            f"orchestration {name!r} uses what differs in replay: {uses}; or allow it knowingly"
            f" with allow={[use.name for use in found]!r}"
        )


def _chosen_name(
    function: Callable[..., object], name: str | None, kind: str, attribute: str
) -> str:
    """The name to register under; a function that stands for another one already is refused."""
    if not callable(function):
        hint = f", and its name as name={shown(function)}" if isinstance(function, str) else ""
        raise InvalidSignature(
            f"{shown(function)} is not a function; pass one to register as {kind}{hint}"
        )
    chosen = check_identifier(own_name(function) if name is None else name, f"{kind} name")
    known = None if inspect.ismethod(function) else getattr(function, attribute, None)
    # functools.wraps copies the mark to a wrapper, which may well stand for another name.
    inherited = known is getattr(getattr(function, "__wrapped__", None), attribute, None)
    if known is not None and not inherited and cast("ActivityReference", known).name != chosen:
        raise DuplicateRegistration(
            f"the function at {where_defined(function)} is registered as {known.name!r} and as"
            f" {chosen!r}; a function stands for one name, so register a wrapper"
        )
    return chosen


def _mark(
    function: Callable[..., object],
    attribute: str,
    reference: ActivityReference | OrchestrationReference,
) -> None:
    if inspect.ismethod(function):
        return  # the function is shared by all objects of the class
    try:
        setattr(function, attribute, reference)
    except AttributeError:
        return  # a builtin or a slotted object: called by its name only
