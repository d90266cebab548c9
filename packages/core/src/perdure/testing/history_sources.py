"""Where a replay check finds its histories: a folder of documents, a client, a storage's URL."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from os import PathLike
from pathlib import Path
from typing import TypeVar

from perdure.client.client import Client
from perdure.errors import InvalidInput
from perdure.model.hidden_payload import Payloads
from perdure.model.settings import require
from perdure.providers.loader import open_provider
from perdure.records.history_document import HistoryDocument
from perdure.records.instances import InstanceStatus

T = TypeVar("T")

_SEED = 0
"""A sample is the same each time, so that a check that failed fails again."""


def read_document(path: Path) -> HistoryDocument:
    """The document in a file; raises `InvalidInput`."""
    try:
        return HistoryDocument.from_json(path.read_bytes())
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def files_of(folder: Path) -> list[Path]:
    """The history files in a folder, sorted; raises `InvalidInput` if there are none."""
    found = sorted(folder.rglob("*.json"))
    if not found:
        raise InvalidInput(f"{str(folder)!r} has no history; write some with `perdure export`")
    return found


async def history_documents(
    histories: Client | str | PathLike[str],
    *,
    orchestration: str | None = None,
    running: bool = False,
    sample: int | None = None,
    payloads: Payloads = "full",
) -> AsyncGenerator[HistoryDocument]:
    """Yield the histories of a folder, a storage or a client's storage, in an order that is always the same.

    The arguments are those of `check_histories`; `payloads` is that of `Client.export_history`, and
    counts for storages alone. A storage must exist.
    """
    if isinstance(histories, str) and "://" in histories:
        async with open_provider(histories, create=False) as provider:
            client = Client(provider)
            async for document in _stored(client, orchestration, running, sample, payloads):
                yield document
    elif isinstance(histories, str | PathLike):
        taken = 0
        for path in _sampled(files_of(Path(histories)), sample):
            document = read_document(path)
            if _is_wanted(document, orchestration, running) and (sample is None or taken < sample):
                taken += 1
                yield document
    else:
        require(histories, Client, "histories", "pass a Client, a URL or a folder")
        async for document in _stored(histories, orchestration, running, sample, payloads):
            yield document


def _is_wanted(document: HistoryDocument, orchestration: str | None, running: bool) -> bool:
    named = orchestration is None or document.orchestration == orchestration
    return named and not (running and document.status is not InstanceStatus.RUNNING)


async def _stored(
    client: Client,
    orchestration: str | None,
    running: bool,
    sample: int | None,
    payloads: Payloads,
) -> AsyncGenerator[HistoryDocument]:
    taken = 0
    for instance in _sampled(await _ids(client, running), sample):
        if sample is not None and taken >= sample:
            return
        if orchestration is not None:
            info = await client.get_instance_info(instance)
            if info.orchestration_name != orchestration:
                continue
        taken += 1
        yield await client.export_history(instance, payloads=payloads)


def _sampled(found: list[T], sample: int | None) -> list[T]:
    """In an order by chance, if only some are wanted."""
    if sample is not None:
        random.Random(_SEED).shuffle(found)  # noqa: S311 # a sample, not a secret
    return found


async def _ids(client: Client, running: bool) -> list[str]:
    ids: list[str] = []
    token: str | None = None
    while True:
        page = (
            await client.list_instances_by_status(InstanceStatus.RUNNING, token=token)
            if running
            else await client.list_all_instances(token=token)
        )
        ids.extend(page)
        token = page.next_token
        if token is None:
            return ids
