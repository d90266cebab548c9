"""From SQLAlchemy constructs to texts with positional parameters.

The names of the parameters are stated beside each statement, in the order in which they have to
be given; a statement that disagrees cannot be imported. Nothing here executes anything.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Index, Table, and_, bindparam, insert, literal_column, text
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.dialects.sqlite import insert as insert_unless
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ClauseElement, TextClause


class _Compiler(SQLiteCompiler):
    """Renders the hints at tables, which SQLAlchemy passes over for SQLite."""

    def get_from_hint_text(self, table: object, text: str | None) -> str | None:
        return text


_DIALECT = sqlite_dialect(paramstyle="qmark")
_DIALECT.statement_compiler = _Compiler


def given(name: str) -> BindParameter[Any]:
    """A parameter."""
    return bindparam(name)


def constant(value: int | str) -> ColumnElement[Any]:
    """A value that stands in the text itself."""
    return literal_column(str(value) if isinstance(value, int) else f"'{value}'")


def at_most(name: str) -> TextClause:
    """A suffix that limits the rows to the number given."""
    return text(f"LIMIT :{name}")


def by(index: Index) -> str:
    """A hint at a table: the index by which its rows are found, or the statement fails."""
    return f"INDEXED BY {index.name}"


def is_live(end: ColumnElement[Any]) -> ColumnElement[bool]:
    """A lease or a delay with this end holds."""
    return and_(end > given("now"), end <= given("farthest"))


def render(statement: ClauseElement, *parameters: str) -> str:
    """The statement's text, whose parameters are these in this order."""
    return _checked(statement.compile(dialect=_DIALECT), parameters)


def render_insert(table: Table, *columns: str, unless_there: bool = False) -> str:
    """The insertion of a row; its parameters are the columns, in the order of the table.

    With `unless_there` a row whose key exists is left as it is.
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
