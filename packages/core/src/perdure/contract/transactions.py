"""A transaction for an activity: what it writes, and its result, stand or fall together."""

from __future__ import annotations


class OpenTransaction:
    """A transaction on a connection of its own; a provider subclasses it for what it needs beside."""

    __slots__ = ("connection",)

    def __init__(self, connection: object) -> None:
        self.connection = connection
        """The driver's connection, which the activity writes with and does not commit."""
