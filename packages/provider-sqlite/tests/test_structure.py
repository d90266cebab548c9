"""The rooms of the package: each may use only those before it."""

import ast
from pathlib import Path

import perdure_sqlite

SOURCE = Path(perdure_sqlite.__file__).parent
ROOMS = (
    "_options",
    "_schema",
    "_file",
    "_sql",
    "_worker_thread",
    "_writes",
    "_reads",
    "_operations",
    "_transactions",
    "_waiting",
    "_admin",
    "_bind",
    "_open_file",
    "_provider",
    "_testing",
    "_plugin",
)


def test_each_room_uses_only_those_before_it() -> None:
    wrong = [
        f"{room} uses {used}"
        for path in SOURCE.rglob("*.py")
        if (room := _room(path.relative_to(SOURCE).with_suffix("").parts)) is not None
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("perdure_sqlite.")
        if (used := _room((node.module or "").split(".")[1:])) not in ROOMS[: ROOMS.index(room) + 1]
    ]

    assert wrong == []


def _room(parts: tuple[str, ...] | list[str]) -> str | None:
    return None if parts[0] == "__init__" else parts[0]
