"""What a client needs to start and to raise, on a connection of the application.

Each call is one statement, the same that the ordinary provider runs. The number of the namespace is
looked up in that statement and never kept: the transaction that has made it may be rolled back.

The NOTIFY that wakes the workers belongs to the application's transaction, so PostgreSQL delivers it
after the commit, and drops it with a rollback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from perdure.clock import Clock
from perdure.contract import (
    DELETION,
    LISTING,
    BoundAdmin,
    BoundProvider,
    InstanceState,
    Message,
    NewInstance,
    ProviderAdmin,
)
from perdure.errors import InstanceRunning, PerdureError

from perdure_postgres._admin import PostgresAdmin
from perdure_postgres._bind.connections import BoundConnection
from perdure_postgres._bind.errors import bound_error
from perdure_postgres._calls import Calls, as_json
from perdure_postgres._database import Parameters, Row
from perdure_postgres._rows import state_of
from perdure_postgres._schema.checking import check_version, read_state_statement
from perdure_postgres._schema.migrations import quoted
from perdure_postgres._signals import Unsent, channel_suffix
from perdure_postgres._statements import Statements
from perdure_postgres._texts import stored
from perdure_postgres._waits import News
from perdure_postgres._writes.changes import Change, Creation, Sending
from perdure_postgres._writes.document import Document

Result = TypeVar("Result")


class BoundDatabase:
    """The statements of a bound provider, on the application's connection."""

    def __init__(self, connection: BoundConnection, *, schema: str) -> None:
        self.storage = connection.description
        self._connection = connection
        self._schema = schema
        self._is_checked = False

    async def fetch(
        self, operation: str, statement: str, parameters: Parameters, *, repeatable: bool
    ) -> list[Row]:
        """The rows of a statement, which is never repeated; raises a `ProviderError`."""
        del repeatable
        self._connection.check()
        if not self._is_checked:
            [(version, _)] = await self._run(operation, read_state_statement(self._schema), ())
            check_version(version, schema=self._schema, storage=self.storage)
            self._is_checked = True
        return await self._run(operation, statement, parameters)

    async def _run(self, operation: str, statement: str, parameters: Parameters) -> list[Row]:
        try:
            return await self._connection.fetch(statement, parameters)
        except PerdureError:
            raise
        except Exception as error:
            raise self.error(operation, error) from error

    def error(self, operation: str, error: BaseException) -> PerdureError:
        """The error of the contract for one that was raised."""
        return bound_error(error, storage=self.storage, schema=self._schema, operation=operation)


class BoundPostgresProvider(BoundProvider):
    """Starts, raises and cancels in the application's transaction."""

    capabilities = frozenset({DELETION, LISTING})

    def __init__(
        self,
        connection: BoundConnection,
        *,
        namespace: str,
        schema: str,
        notify: bool,
        clock: Clock,
    ) -> None:
        super().__init__(clock=clock, description=connection.description, blocks=connection.blocks)
        self._database = BoundDatabase(connection, schema=schema)
        self._namespace = namespace
        self._schema = schema
        self._notify = notify

    async def create_instance(self, new: NewInstance) -> None:
        await self._write(Creation(new))

    async def send(self, messages: Sequence[Message]) -> None:
        if messages:
            await self._write(Sending(tuple(messages)))

    async def read_instance(self, instance: str) -> InstanceState | None:
        asked = as_json([{"o": 0, "instance": stored(instance)}])
        rows = await self._call("read_instance", "read_instances", "%s::jsonb", asked)
        if not rows:
            return None
        try:
            return state_of(*rows[0][1:])
        except Exception as error:
            raise self._database.error("read_instance", error) from error

    async def delete_instance(self, instance: str, *, incarnation: str) -> bool:
        # What belongs to it is removed by the next deletion of an ordinary provider.
        item = {"o": 0, "instance": stored(instance), "incarnation": stored(incarnation)}
        [(_, answer)] = await self._call(
            "delete_instance", "delete_ended", "%s::jsonb", as_json([item])
        )
        if answer == "running":
            raise InstanceRunning(instance)
        return answer == "deleted"

    def as_management_capability(self) -> ProviderAdmin:
        return BoundAdmin(self._admin)

    async def _admin(self) -> PostgresAdmin:
        finder = Calls(self._database, schema=self._schema, namespace=0)
        [(number,)] = await finder.read_plain("open", "open_namespace", stored(self._namespace))
        calls = Calls(self._database, schema=self._schema, namespace=number)
        return PostgresAdmin(calls, self.clock, Statements(self._schema, number))

    async def _write(self, change: Change[Result]) -> Result:
        document = Document(self.clock.now())
        change.add_to(document)
        rows = await self._call(
            change.operation,
            "write",
            "%s, %s::jsonb, %s::bytea[]",
            document.now,
            document.text(),
            document.payloads,
            tells=change if self._notify else None,
        )
        [fields] = [fields for _, part, fields, _ in rows if part == 0]
        return change.answer(fields, (), False)

    async def _call(
        self,
        operation: str,
        function: str,
        places: str,
        *arguments: object,
        tells: Change[object] | None = None,
    ) -> list[Row]:
        """The rows of a function of the namespace, in one statement."""
        home = quoted(self._schema)
        statement = (
            f"SELECT f.* FROM {home}.open_namespace(%s) AS n(number)"  # noqa: S608 # our own names
            f" CROSS JOIN LATERAL {home}.{function}(n.number, {places}) AS f"
        )
        parameters: list[object] = [stored(self._namespace), *arguments]
        if tells is not None:
            statement += " CROSS JOIN LATERAL pg_notify('perdure_' || n.number || %s, %s) AS s"
            parameters += [channel_suffix(self._schema), _signal_of(tells)]
        return await self._database.fetch(operation, statement, parameters, repeatable=False)


def _signal_of(change: Change[object]) -> str:
    unsent = Unsent(None)
    unsent.add(
        News(
            turns=change.makes_turns,
            activities=change.makes_activities,
            instances=change.changed,
            turning=change.turning,
        )
    )
    return unsent.take()
