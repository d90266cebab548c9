"""What the commands print: text for people, or one JSON document with `--json`.

The document has the fields of the client's records under their names: instants as ISO 8601 in UTC,
payloads (`output`, `custom_status`, `values`) as the JSON values that they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from perdure.client.client import Client
from perdure.errors import InvalidInput
from perdure.model.details import (
    ApplicationFailure,
    ConfigurationFailure,
    InfrastructureFailure,
    details_to_plain,
)
from perdure.providers.loader import open_provider

if TYPE_CHECKING:
    from perdure.client.info import InstanceInfo

DONE: Final = 0
DISAGREES: Final = 1
"""Some of what was asked for is not so, or was not done."""
FAILED: Final = 2

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # pyright: ignore[reportPrivateUsage] # what `add_subparsers` returns has no other name

_PAYLOADS: Final = ("output", "custom_status")


@asynccontextmanager
async def client_of(url: str) -> AsyncGenerator[Client]:
    """A client of the storage at a URL; raises `InvalidInput` for a path."""
    if "://" not in url:
        raise InvalidInput(f"{url!r} is no URL of a storage, such as sqlite:///live.db")
    async with open_provider(url) as provider:
        yield Client(provider)


def add_url(command: argparse.ArgumentParser) -> None:
    """The storage, and the form of the answer."""
    command.add_argument("url", metavar="URL", help="the storage, such as sqlite:///live.db")
    command.add_argument("--json", action="store_true", help="print one JSON document")


def count(text: str) -> int:
    """A number of at least 1, of an option."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def print_json(value: object) -> None:
    """Print a value as one JSON document."""
    print(json.dumps(to_plain(value), indent=2, ensure_ascii=False))


def to_plain(value: object) -> object:
    """Records as JSON-ready data."""
    if isinstance(value, ApplicationFailure | ConfigurationFailure | InfrastructureFailure):
        return {**details_to_plain(value), "display_message": value.display_message()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _field(each.name, getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(each) for key, each in cast("Mapping[str, object]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_plain(each) for each in cast("Sequence[object]", value)]
    return value


def _field(name: str, value: object) -> object:
    if name in _PAYLOADS and isinstance(value, str):
        return json.loads(value)
    if name == "values":
        return {key: json.loads(text) for key, text in cast("Mapping[str, str]", value).items()}
    return to_plain(value)


def state_in_words(info: InstanceInfo) -> str:
    """The status of an instance in a word, or two if it is parked."""
    if info.parked is not None:
        return f"parked ({info.parked.reason})"
    return info.status.value.lower()


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns as wide as their longest text."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())


def in_utc(moment: datetime) -> str:
    """An instant to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"
