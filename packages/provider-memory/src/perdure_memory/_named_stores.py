"""The named stores of this process.

A named store outlives the providers that use it, so that two runtimes of a process, or a test and
the code under test, can share it. `drop` removes the name; open providers keep the store.
"""

from __future__ import annotations

import threading

from perdure_memory._options import MemoryOptions
from perdure_memory._store import Store

_stores: dict[tuple[str, str], Store] = {}
_lock = threading.Lock()


def find_store(options: MemoryOptions) -> Store:
    """The store of this name and namespace; without a name, a new store."""
    if options.name is None:
        return Store()
    with _lock:
        return _stores.setdefault((options.name, options.namespace), Store())


def drop(name: str) -> None:
    """Remove the named store in all its namespaces; an unknown name has no effect."""
    with _lock:
        for key in [key for key in _stores if key[0] == name]:
            del _stores[key]
