"""What activities find in their context: an object of the application, opened for the worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import cast

from perdure_console.applications import load_object


@asynccontextmanager
async def opened(path: str | None) -> AsyncGenerator[object]:
    """The resources at `MODULE:NAME`: an object, or what a function or class of that name returns.

    A context manager, async or not, is entered while the worker runs.
    """
    found = None if path is None else load_object(path, "resource")
    made = cast("Callable[[], object]", found)() if callable(found) else found
    if isinstance(made, AbstractAsyncContextManager):
        async with cast("AbstractAsyncContextManager[object]", made) as resources:
            yield resources
    elif isinstance(made, AbstractContextManager):
        with cast("AbstractContextManager[object]", made) as resources:
            yield resources
    else:
        yield made
