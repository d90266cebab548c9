"""News between processes: NOTIFY after writes, and one connection that listens.

NOTIFY holds a lock on the whole cluster until its transaction commits, so it never belongs to a
write: it is a transaction of its own, and the news of many writes share one. A process that misses
one, because its connection broke, looks at everything once it listens again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

import psycopg
from perdure.errors import ProviderError

from perdure_postgres._database import Connection, Database, connect
from perdure_postgres._texts import stored, told
from perdure_postgres._waits import News

_LOGGER: Final = logging.getLogger("perdure.postgres")
_BETWEEN_SIGNALS: Final = 0.005
_BETWEEN_LOOKS: Final = 0.2
"""Seconds between two looks of a process that does not listen."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LONGEST_SIGNAL: Final = 7000
"""Bytes; PostgreSQL takes 8,000."""


def channel_of(schema: str, namespace: int) -> str:
    """The channel of a namespace."""
    return f"perdure_{namespace}_{hashlib.sha256(schema.encode()).hexdigest()[:12]}"


class Signals:
    """Tells other processes of what this one wrote, and hears of what they wrote."""

    def __init__(
        self,
        database: Database,
        conninfo: dict[str, str],
        *,
        channel: str,
        notify: bool,
        hear: Callable[[News], None],
    ) -> None:
        self._database = database
        self._conninfo = conninfo
        self._channel = channel
        self._notify = notify
        self._hear = hear
        self._own = secrets.token_hex(8)
        self._unsent = _Unsent()
        self._sender: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self.is_listening = False

    @property
    def hears(self) -> bool:
        """Whether news of other processes arrive, or are looked for from time to time."""
        return self.is_listening or (self._listener is not None and not self._notify)

    def listen(self) -> None:
        """Begin to hear of other processes; without NOTIFY, look from time to time."""
        if self._listener is None:
            run = self._listen if self._notify else self._poll
            self._listener = asyncio.ensure_future(run())

    def tell(self, news: News) -> None:
        """Tell other processes soon."""
        if not self._notify:
            return
        self._unsent.add(news)
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._send())

    async def close(self) -> None:
        """Tell what was not told yet, and stop."""
        if self._sender is not None:
            await asyncio.wait([self._sender])
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])

    async def _send(self) -> None:
        try:
            while self._unsent:
                text = self._unsent.take(self._own)
                try:
                    await self._database.fetch(
                        "notify",
                        "SELECT pg_notify(%s, %s)",
                        (self._channel, text),
                        repeatable=True,
                    )
                except ProviderError as error:
                    _LOGGER.warning("other processes were not told of a change: %s", error)
                await asyncio.sleep(_BETWEEN_SIGNALS)
        finally:
            self._sender = None

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_BETWEEN_LOOKS)
            self._hear(News(everything=True))

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            connection: Connection | None = None
            try:
                connection = await connect(self._conninfo)
                await connection.execute(f'LISTEN "{self._channel}"'.encode())
                self.is_listening = True
                pause = _FIRST_PAUSE
                # What happened before it listened was not heard.
                self._hear(News(everything=True))
                async for signal in connection.notifies():
                    self._receive(signal.payload)
            except (psycopg.Error, OSError, TimeoutError) as error:
                _LOGGER.info("the connection that listens broke, and is made again: %s", error)
            finally:
                self.is_listening = False
                if connection is not None:
                    with suppress(psycopg.Error, OSError):
                        await connection.close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._hear(News(everything=True))

    def _receive(self, text: str) -> None:
        said: dict[str, Any] = {"all": 1}
        # Another program may use the channel.
        with suppress(ValueError):
            said = cast("dict[str, Any]", json.loads(text))
        if said.get("from") == self._own:
            return
        self._hear(
            News(
                turns="t" in said,
                activities="a" in said,
                instances=[told(each) for each in said.get("c", ())],
                turning=[told(each) for each in said.get("e", ())],
                everything="all" in said,
            )
        )


class _Unsent:
    """News that no other process was told of yet."""

    def __init__(self) -> None:
        self._turns = self._activities = self._everything = False
        self._instances: set[str] = set()
        self._turning: set[str] = set()

    def __bool__(self) -> bool:
        return bool(
            self._turns or self._activities or self._everything or self._instances or self._turning
        )

    def add(self, news: News) -> None:
        self._turns |= news.turns
        self._activities |= news.activities
        self._everything |= news.everything
        self._instances.update(news.instances)
        self._turning.update(news.turning)

    def take(self, own: str) -> str:
        """The news as one text, which is forgotten."""
        said: dict[str, object] = {"from": own}
        if self._turns:
            said["t"] = 1
        if self._activities:
            said["a"] = 1
        for name, ids in (("c", self._instances), ("e", self._turning)):
            if ids:
                said[name] = [stored(each) for each in ids]
        text = json.dumps(said)
        if self._everything or len(text) > _LONGEST_SIGNAL:
            text = json.dumps({"from": own, "all": 1})
        self.__init__()
        return text
