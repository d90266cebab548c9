"""Providers on a connection of the application, whose calls run in its transaction.

- `errors`: what the application's driver raises, as errors of the contract
- `values`: statements and rows between psycopg's form and that of other drivers
- `connections`: the connections that can be bound, and how a statement runs on each
- `provider`: what a client needs to start and to raise
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perdure.clock import Clock, SystemClock
from perdure.contract import Provider
from perdure.errors import InvalidInput

from perdure_postgres._bind.connections import connection_of
from perdure_postgres._bind.provider import BoundPostgresProvider

if TYPE_CHECKING:
    from perdure.codecs import PayloadCodec

__all__ = ["bind"]


def bind(
    connection: object,
    *,
    namespace: str = "default",
    schema: str = "perdure",
    codec: PayloadCodec | Sequence[PayloadCodec] = (),
    notify: bool = True,
    clock: Clock | None = None,
) -> Provider:
    """A provider for `Client` and `BlockingClient` whose calls run on this connection.

    What the client starts, raises and cancels becomes part of the transaction that is open on the
    connection: it is there once the application commits, and never if it rolls back. Nothing here
    commits, rolls back or closes.

    `connection` is one of psycopg (`Connection`, `AsyncConnection`), of asyncpg, of SQLAlchemy
    with one of these drivers (`Connection`, `AsyncConnection`), or `django.db.connection`. Bind
    inside the transaction: a connection that commits each statement by itself is refused.
    `namespace`, `schema` and `codec` are those of the workers. With `notify` the commit wakes
    their processes; without it they find the work when they poll.

    Raises `InvalidInput` for what cannot be bound. The calls raise it too, when the transaction has
    ended, and `StorageFailed` if the database has no schema of Perdure.
    """
    for name, value in (("namespace", namespace), ("schema", schema)):
        if not value:
            raise InvalidInput(f"{name} is {value!r}; name that of the workers")
    bound = connection_of(connection)
    bound.check()
    provider = BoundPostgresProvider(
        bound, namespace=namespace, schema=schema, notify=notify, clock=clock or SystemClock()
    )
    if codec == ():
        return provider
    # Most applications use no codec.
    from perdure.codecs import encoding_by

    return encoding_by(codec)(provider)
