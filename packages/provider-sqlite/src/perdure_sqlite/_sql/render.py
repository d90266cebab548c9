"""From SQLAlchemy constructs to texts with positional parameters.

Each statement states the names of its parameters in the order in which they are passed. If the
rendered text disagrees, importing the statement fails. Nothing here executes anything.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Index, Table, bindparam, insert, literal_column, text
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.dialects.sqlite import insert as insert_unless
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ClauseElement, TextClause


class _Compiler(SQLiteCompiler):
    """Renders table hints, which SQLAlchemy ignores for SQLite."""

    def get_from_hint_text(self, table: object, text: str | None) -> str | None:
        return text


_DIALECT = sqlite_dialect(paramstyle="qmark")
_DIALECT.statement_compiler = _Compiler


def given(name: str) -> BindParameter[Any]:
    """A parameter."""
    return bindparam(name)


def constant(value: int | str) -> ColumnElement[Any]:
    """A value that is part of the text."""
    return literal_column(str(value) if isinstance(value, int) else f"'{value}'")


def at_most(name: str) -> TextClause:
    """A suffix that limits the number of rows to a parameter."""
    return text(f"LIMIT :{name}")


def by(index: Index) -> str:
    """A table hint: the statement uses this index, or fails."""
    return f"INDEXED BY {index.name}"


def render(statement: ClauseElement, *parameters: str) -> str:
    """The text of the statement, which takes these parameters in this order."""
    return _checked(statement.compile(dialect=_DIALECT), parameters)


def render_insert(table: Table, *columns: str, unless_there: bool = False) -> str:
    """The insertion of a row; its parameters are the columns, in the order of the table.

    With `unless_there`, a row whose key exists already stays unchanged.
    """
    statement = insert_unless(table).on_conflict_do_nothing() if unless_there else insert(table)
    return _checked(statement.compile(dialect=_DIALECT, column_keys=columns), columns)


def _checked(compiled: object, parameters: tuple[str, ...]) -> str:
    if not isinstance(compiled, SQLCompiler):
        raise TypeError(f"{compiled!r} is not a statement that can be prepared")
    names = tuple(compiled.positiontup or ())
    if names != parameters:
        raise TypeError(f"the parameters of {compiled} are {names}, declared as {parameters}")
    return str(compiled)
