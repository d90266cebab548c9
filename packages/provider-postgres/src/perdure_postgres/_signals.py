"""News between processes: NOTIFY after writes, and one connection that listens.

NOTIFY holds a lock on the whole cluster until its transaction commits, so it never belongs to a
write: it is a transaction of its own, and the news of many writes share one. The provider objects of
an event loop that use one namespace share the connection that listens, and hear of each other
without NOTIFY.

A process sends none while no other process listens. Each that begins to listen says so, is answered
by the others, and says so again from time to time. One that has kept news to itself tells of a
possible change of everything when it first hears of another listener. So each write is either told,
or made before the look with which that listener began, or told by this message. A process that
misses something, because its connection broke, looks at everything once it listens again.
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
from weakref import WeakKeyDictionary

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
_FOR_ANSWERS: Final = 2.0
"""Seconds in which other listeners answer; one that is slower is heard of later."""
_BETWEEN_SIGNS: Final = 30.0
_LONGEST_SILENCE: Final = 100.0
"""Seconds after which another listener counts as gone."""


def channel_of(schema: str, namespace: int) -> str:
    """The channel of a namespace."""
    return f"perdure_{namespace}{channel_suffix(schema)}"


def channel_suffix(schema: str) -> str:
    """What stands behind the number of a namespace in the channels of a schema."""
    return f"_{hashlib.sha256(schema.encode()).hexdigest()[:12]}"


class Signals:
    """What one provider object tells others, and hears of them."""

    def __init__(
        self,
        database: Database,
        conninfo: dict[str, str],
        *,
        channel: str,
        notify: bool,
        hear: Callable[[News], None],
    ) -> None:
        self.database = database
        self.hear = hear
        self._key = (frozenset(conninfo.items()), channel, notify)
        self._posts = _POSTS.setdefault(asyncio.get_running_loop(), {})
        self._post = self._posts.setdefault(self._key, Post(conninfo, channel, notify=notify))
        self._post.members.append(self)

    @property
    def post(self) -> Post:
        """What the provider objects of this event loop share."""
        return self._post

    @property
    def hears(self) -> bool:
        """Whether news of other processes arrive, or are looked for from time to time."""
        return self._post.hears

    def listen(self) -> None:
        """Begin to hear of other processes; without NOTIFY, look from time to time."""
        self._post.listen()

    def tell(self, news: News) -> None:
        """Tell the other provider objects of this process now, and other processes soon."""
        for member in tuple(self._post.members):
            if member is not self:
                member.hear(news)
        self._post.tell(news)

    async def close(self) -> None:
        """Tell what was not told yet; the last provider object of an event loop stops listening."""
        post = self._post
        if post.members == [self]:
            # One that is opened meanwhile gets a post of its own.
            del self._posts[self._key]
            await post.close()
            post.members.clear()
        else:
            post.members.remove(self)
            await post.until_sent()


class Post:
    """The connection that listens, and the news that are to be sent."""

    def __init__(self, conninfo: dict[str, str], channel: str, *, notify: bool) -> None:
        self.members: list[Signals] = []
        """The provider objects; what is sent goes over the connections of the first."""
        self.is_listening = False
        self._conninfo = conninfo
        self._channel = channel
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._unsent = Unsent(secrets.token_hex(8))
        self._sender: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self._next_sign: asyncio.TimerHandle | None = None
        self._knows_at = 0.0
        """When all other listeners have answered."""
        self._others: dict[str, float] = {}
        """The other listeners, and when each was heard of last."""
        self._kept_news = False

    @property
    def hears(self) -> bool:
        """Whether news of other processes arrive, or are looked for from time to time."""
        return self.is_listening or (self._listener is not None and not self._notify)

    @property
    def is_alone(self) -> bool:
        """Whether no other process listens, as far as this one knows; one that does not listen cannot."""
        now = self._loop.time()
        return (
            self.is_listening
            and now >= self._knows_at
            and all(now - heard > _LONGEST_SILENCE for heard in self._others.values())
        )

    def listen(self) -> None:
        """Begin to hear of other processes."""
        if self._listener is None:
            run = self._listen if self._notify else self._poll
            self._listener = asyncio.ensure_future(run())

    def tell(self, news: News) -> None:
        """Tell other processes soon, if there are any."""
        if not self._notify:
            return
        if self.is_alone:
            self._kept_news = True
            return
        self._unsent.add(news)
        self._send()

    async def until_sent(self) -> None:
        """Return when nothing is under way that was sent by a provider object that has left."""
        async with self._sending:
            pass

    async def close(self) -> None:
        """Tell what was not told yet, and stop listening."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        if self._sender is not None:
            await asyncio.wait([self._sender])

    def receive(self, text: str) -> None:
        """Take what a process has sent."""
        said: dict[str, Any] = {"all": 1}
        # Another program may use the channel.
        with suppress(ValueError):
            said = cast("dict[str, Any]", json.loads(text))
        sender = said.get("from")
        if sender is not None and sender == self._unsent.sender:
            return
        if isinstance(sender, str):
            self._met(sender, asks="asks" in said)
        if said.keys() <= {"from", "here", "asks"}:
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

    def _met(self, other: str, *, asks: bool) -> None:
        now = self._loop.time()
        self._others = {
            name: heard for name, heard in self._others.items() if now - heard <= _LONGEST_SILENCE
        }
        self._others[other] = now
        if asks:
            self._unsent.sign = "here"
        self._tell_what_was_kept()
        self._send()

    def _tell_what_was_kept(self) -> None:
        if self._kept_news:
            self._kept_news = False
            self._unsent.add(News(everything=True))

    def _hear(self, news: News) -> None:
        for member in tuple(self.members):
            member.hear(news)

    def _send(self) -> None:
        if self._sender is None and self._unsent:
            self._sender = asyncio.ensure_future(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self._unsent and self.members:
                text = self._unsent.take()
                async with self._sending:
                    try:
                        await self.members[0].database.fetch(
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

    def _sign(self, sign: str) -> None:
        """Say that this process listens, now and from time to time."""
        self._unsent.sign = sign
        self._send()
        self._next_sign = self._loop.call_later(_BETWEEN_SIGNS, self._sign, "here")

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_BETWEEN_LOOKS)
            self._hear(News(everything=True))

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        has_told = False
        while True:
            connection: Connection | None = None
            try:
                connection = await connect(self._conninfo)
                await connection.execute(f'LISTEN "{self._channel}"'.encode())
                self.is_listening, has_told = True, False
                self._knows_at = self._loop.time() + _FOR_ANSWERS
                # Another may have begun to listen while this connection was broken.
                self._tell_what_was_kept()
                self._sign("asks")
                pause = _FIRST_PAUSE
                # What happened before it listened was not heard.
                self._hear(News(everything=True))
                async for signal in connection.notifies():
                    self.receive(signal.payload)
            except (psycopg.Error, OSError, TimeoutError) as error:
                if self.is_listening or has_told:
                    _LOGGER.info("the connection that listens broke, and is made again: %s", error)
                else:
                    _LOGGER.warning(
                        "no connection can listen for news, so work is found by looks, and later;"
                        " check host and port of the URL and `listen`: %s",
                        error,
                    )
                    has_told = True
            finally:
                self.is_listening = False
                if self._next_sign is not None:
                    self._next_sign.cancel()
                if connection is not None:
                    with suppress(psycopg.Error, OSError):
                        await connection.close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._hear(News(everything=True))


_POSTS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, Post]]] = (
    WeakKeyDictionary()
)
"""What the provider objects of each event loop share, by what they listen to."""


class Unsent:
    """News that no other process was told of yet."""

    def __init__(self, sender: str | None) -> None:
        self.sender = sender
        """None: one that listens to no answers, of which others need not know."""
        self.sign: str | None = None
        """`asks` for answers, or `here`: this process listens."""
        self._turns = self._activities = self._everything = False
        self._instances: set[str] = set()
        self._turning: set[str] = set()

    def __bool__(self) -> bool:
        return self.sign is not None or self._has_news

    @property
    def _has_news(self) -> bool:
        return bool(
            self._turns or self._activities or self._everything or self._instances or self._turning
        )

    def add(self, news: News) -> None:
        self._turns |= news.turns
        self._activities |= news.activities
        self._everything |= news.everything
        self._instances.update(news.instances)
        self._turning.update(news.turning)

    def take(self) -> str:
        """The news as one text, which is forgotten."""
        signed: dict[str, object] = {} if self.sender is None else {"from": self.sender}
        if self.sign is not None:
            signed[self.sign] = 1
        said = dict(signed)
        if self._turns:
            said["t"] = 1
        if self._activities:
            said["a"] = 1
        for name, ids in (("c", self._instances), ("e", self._turning)):
            if ids:
                said[name] = [stored(each) for each in ids]
        text = json.dumps(said)
        if self._everything or len(text) > _LONGEST_SIGNAL:
            text = json.dumps({**signed, "all": 1})
        self.__init__(self.sender)
        return text
