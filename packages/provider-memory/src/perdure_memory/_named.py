"""The named stores of this process.

This table is the one piece of state that outlives its users: two runtimes of a process, or a
test and what it tests, meet in it under a name. `drop` forgets a name; who has the store open
keeps it.
"""

from __future__ import annotations

import threading

from perdure_memory._options import MemoryOptions
from perdure_memory._store import Store

_stores: dict[tuple[str, str], Store] = {}
_lock = threading.Lock()


def find_store(options: MemoryOptions) -> Store:
    """The store of this name and namespace; without a name a new one."""
    if options.name is None:
        return Store()
    with _lock:
        return _stores.setdefault((options.name, options.namespace), Store())


def drop(name: str) -> None:
    """Forget the named store in all its namespaces; an unknown name is passed over."""
    with _lock:
        for key in [key for key in _stores if key[0] == name]:
            del _stores[key]
