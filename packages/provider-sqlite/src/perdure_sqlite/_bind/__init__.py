"""Providers on a connection of the application, whose calls run in its transaction.

- `connections`: the connections that can be bound, and how an operation runs on each
- `provider`: what a client needs to start and to raise
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perdure.clock import Clock, SystemClock
from perdure.contract import Provider
from perdure.errors import InvalidInput

from perdure_sqlite._bind.connections import connection_of
from perdure_sqlite._bind.provider import BoundSQLiteProvider

if TYPE_CHECKING:
    from perdure.codecs import PayloadCodec

__all__ = ["bind"]


def bind(
    connection: object,
    *,
    namespace: str = "default",
    codec: PayloadCodec | Sequence[PayloadCodec] = (),
    clock: Clock | None = None,
) -> Provider:
    """A provider for `Client` and `BlockingClient` whose calls run on this connection.

    What the client starts, raises and cancels becomes part of the transaction that is open on the
    connection, or that its first call begins: it is there once the application commits, and never
    if it rolls back. Nothing here commits, rolls back or closes. The application's tables and those
    of Perdure are in one file.

    `connection` is a `sqlite3.Connection`, one of aiosqlite, one of SQLAlchemy with either of these
    (`Connection`, `AsyncConnection`), or `django.db.connection`. A connection that commits each
    statement by itself is refused, unless a transaction is open on it. `namespace` and `codec` are
    those of the workers, which see the commit when they look at the file next, after at most
    100 ms.

    Raises `InvalidInput` for what cannot be bound. The calls raise it too, when the transaction has
    ended, and `StorageFailed` if the file has no tables of Perdure.
    """
    if not namespace:
        raise InvalidInput(f"namespace is {namespace!r}; name that of the workers")
    bound = connection_of(connection)
    bound.check()
    provider = BoundSQLiteProvider(bound, namespace=namespace, clock=clock or SystemClock())
    if codec == ():
        return provider
    # Most applications use no codec.
    from perdure.codecs import encoding_by

    return encoding_by(codec)(provider)
