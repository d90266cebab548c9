"""The options that every start takes: what happens if the id is in use, when it runs, what it carries.

They are declared and checked here, once. The methods pass them on as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypedDict, cast, get_args

from perdure.client.arguments import check_instant
from perdure.clock import Clock, Instant, to_microseconds
from perdure.errors import InvalidInput
from perdure.model.durations import to_duration
from perdure.model.record import record
from perdure.model.shown import shown

if TYPE_CHECKING:
    import pluggy

IfExists: TypeAlias = Literal["raise", "return", "replace_ended"]
"""What a start does if its id is in use."""

MOST_LABELS: Final = 8
LONGEST_LABEL_KEY: Final = 64
"""In bytes of UTF-8, as all sizes here."""
LONGEST_LABEL: Final = 256
MOST_HEADERS: Final = 16
LARGEST_HEADERS: Final = 8 * 1024
"""Of all keys and values together."""


class StartOptions(TypedDict, total=False):
    """What each start method of a client takes as keyword arguments, beside its own."""

    if_exists: IfExists
    """`"raise"`, the default, raises `InstanceAlreadyExists` if the id is in use. `"return"` returns
    a handle of the instance that has it, in whatever state. `"replace_ended"` deletes an ended
    instance, with its children, and starts the new one in one step; if it, or one of its children,
    runs, it raises `InstanceAlreadyExists`."""
    start_at: datetime | None
    """When it begins to run, an aware datetime: the instance is created, and listed, at once."""
    delay: timedelta | float | None
    """How long from now until it begins to run; a `timedelta` or seconds."""
    labels: Mapping[str, str] | None
    """Up to 8 short texts, by which listings find the instance. Children inherit them, and they
    never change. Keys have 1 to 64 bytes, values up to 256."""
    headers: Mapping[str, str] | None
    """Up to 16 texts of 8 KiB together, that travel to the orchestration, its activities and its
    children: the trace, the tenant, who asked. Hooks may add some (`perdure_headers`)."""


@record(frozen=True)
class CheckedOptions:
    """The options of one start."""

    if_exists: IfExists
    start_at: Instant | None
    labels: Mapping[str, str]
    headers: Mapping[str, str]


def check_options(options: StartOptions, clock: Clock) -> CheckedOptions:
    """Check the options of a call; raises `InvalidInput`, or `TypeError` for an unknown one."""
    for name in options:
        if name not in StartOptions.__annotations__:
            raise _unknown(name)
    return CheckedOptions(
        if_exists=_check_if_exists(options.get("if_exists", "raise")),
        start_at=_check_start(options.get("start_at"), options.get("delay"), clock),
        labels=check_labels(options.get("labels")),
        headers=check_headers(options.get("headers"), "headers"),
    )


def check_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """A copy of the labels; raises `InvalidInput`."""
    checked = _check_texts(labels, "labels", '{"tenant": "acme"}')
    if len(checked) > MOST_LABELS:
        raise InvalidInput(f"labels has {len(checked)} entries; pass {MOST_LABELS} at most")
    for key, value in checked.items():
        if not 1 <= _size(key) <= LONGEST_LABEL_KEY:
            raise InvalidInput(
                f"the label key {shown(key)} has {_size(key)} bytes; use 1 to {LONGEST_LABEL_KEY}"
            )
        if _size(value) > LONGEST_LABEL:
            raise InvalidInput(
                f"the label {shown(key)} has a value of {_size(value)} bytes; shorten it to"
                f" {LONGEST_LABEL}"
            )
    return checked


def check_headers(headers: Mapping[str, str] | None, what: str) -> dict[str, str]:
    """A copy of the headers; raises `InvalidInput`, in which `what` names them."""
    checked = _check_texts(headers, what, '{"tenant": "acme"}')
    size = sum(_size(key) + _size(value) for key, value in checked.items())
    if len(checked) > MOST_HEADERS or size > LARGEST_HEADERS:
        raise InvalidInput(
            f"{what} has {len(checked)} entries of {size} bytes in all; pass {MOST_HEADERS} of"
            f" {LARGEST_HEADERS} bytes in all at most"
        )
    return checked


def with_headers_of_hooks(
    headers: Mapping[str, str], plugins: pluggy.PluginManager, instance: str, orchestration: str
) -> dict[str, str]:
    """The headers with those that hooks add. The caller's own count first, then the first plugin's."""
    added: Iterable[Mapping[str, str] | None] = plugins.hook.perdure_headers(
        instance=instance, orchestration=orchestration
    )
    merged: dict[str, str] = {}
    # A hook's results come in the reverse order of registration, so an earlier plugin overrides.
    for each in added:
        merged.update(check_headers(each, "the answer of the hook perdure_headers"))
    return check_headers({**merged, **headers}, "headers")


def _check_if_exists(if_exists: IfExists) -> IfExists:
    valid = get_args(IfExists)
    if if_exists not in valid:
        raise InvalidInput(
            f"if_exists {shown(if_exists)} is unknown; pass {', '.join(map(repr, valid[:-1]))} or {valid[-1]!r}"
        )
    return if_exists


def _check_start(
    start_at: datetime | None, delay: timedelta | float | None, clock: Clock
) -> Instant | None:
    if delay is None:
        return None if start_at is None else check_instant(start_at, "start_at")
    if start_at is not None:
        raise InvalidInput(
            f"start_at {shown(start_at)} and delay {shown(delay)} are both given; give one of them"
        )
    return clock.now() + to_microseconds(to_duration(delay, "delay"))


def _check_texts(texts: Mapping[str, str] | None, what: str, example: str) -> dict[str, str]:
    if texts is None:
        return {}
    if not isinstance(cast("object", texts), Mapping):
        raise InvalidInput(f"{what} {shown(texts)} is no mapping; pass one such as {example}")
    for key, value in texts.items():
        for text in (key, value):
            if not isinstance(cast("object", text), str):
                raise InvalidInput(
                    f"{what} has {shown(text)}, which is no text; pass a mapping such as {example}"
                )
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InvalidInput(
                    f"{what} has {shown(text)}, which UTF-8 cannot carry; remove the surrogates"
                ) from None
    return dict(texts)


def _size(text: str) -> int:
    return len(text.encode())


def _unknown(name: str) -> TypeError:
    known = sorted(StartOptions.__annotations__)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return TypeError(f"a start has no option {name!r}; {hint}")
