"""Finds an application by its path, `MODULE:APP`, such as `shop.orders:app`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from perdure import Registry
from perdure.errors import InvalidInput


def load_app(path: str) -> list[Registry]:
    """The registries at the path: one, or a list of them; raises `InvalidInput`."""
    found = load_object(path, "registry")
    registries = [found] if isinstance(found, Registry) else _all_of(found)
    if not registries or not all(isinstance(each, Registry) for each in registries):  # pyright: ignore[reportUnnecessaryIsInstance] # what a module has there is anything
        raise InvalidInput(f"{path!r} is no Registry, and no list of registries")
    return registries


def load_object(path: str, what: str) -> object:
    """The object at the path, whose module is imported; raises `InvalidInput`."""
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise InvalidInput(f"{path!r} names no {what}; write it as MODULE:NAME")
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        # As `python -m` does; the script stands in another folder.
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module)
    except Exception as error:
        reason = (
            str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        )
        raise InvalidInput(f"{path!r} cannot be imported: {reason}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise InvalidInput(f"module {module!r} has no {name!r}; name the {what} in it")
        found = getattr(found, part)
    return found


def _all_of(found: object) -> list[Registry]:
    if isinstance(found, str) or not isinstance(found, Iterable):
        return []
    return list(cast("Iterable[Registry]", found))
