"""The options of the SQLite provider, and how a URL gives them."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from perdure.contract import ProviderUrl
from perdure.errors import InvalidProviderUrl
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator


class SQLiteOptions(BaseModel):
    """`sqlite:///relative.db` or `sqlite:////absolute.db`, with options after a `?`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    """The file; it is created if it is missing. Its directory must exist.

    A relative path is resolved when the options are created."""
    durability: Literal["full", "normal"] = "full"
    """`full`: an acknowledged call survives a power loss. `normal`: it survives the end of the
    process, and a power loss may undo the most recent calls; the file stays intact."""
    namespace: str = Field(default="default", min_length=1)
    """Separates applications that share a file."""
    create: bool = True
    """Whether a missing file is created; if not, opening it raises `StorageFailed`."""
    busy_timeout: float = Field(default=30.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds to wait for other processes that write to the file, before the call fails."""

    _file: Path = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:
        """Resolve a relative path against the current directory."""
        self._file = self.path.absolute()

    @field_validator("busy_timeout", mode="before")
    @classmethod
    def _is_no_truth_value(cls, seconds: object) -> object:
        if isinstance(seconds, bool):
            raise ValueError("it is a truth value; pass seconds")
        return seconds

    @field_validator("path")
    @classmethod
    def _names_a_file(cls, path: Path) -> Path:
        if "\0" in str(path):
            raise ValueError("it has a NUL character, which no file name has")
        try:
            os.fsencode(path)
        except UnicodeEncodeError:
            raise ValueError("it has surrogates, which no file name has") from None
        if str(path) in ("", "."):
            raise ValueError("it names no file; write a path such as 'orders.db'")
        if str(path) == ":memory:":
            raise ValueError("it is not a file; for a store in memory use 'memory://'")
        return path

    @classmethod
    def from_url(cls, url: ProviderUrl) -> Self:
        """Read a URL: its path without the first slash is the file."""
        if url.netloc:
            raise InvalidProviderUrl(
                f"{url.masked!r} names a host, and a file has none; write three slashes before"
                " a relative path ('sqlite:///orders.db') and four before an absolute one"
            )
        path = url.path.removeprefix("/")
        if path in ("", ".", ":memory:"):
            raise InvalidProviderUrl(
                f"{url.masked!r} names no file; write it like 'sqlite:///orders.db',"
                " or use 'memory://' for a store without one"
            )
        if path.endswith("/"):
            raise InvalidProviderUrl(
                f"{url.masked!r} ends with a slash, so it names a directory; name a file in it"
            )
        if "path" in url.query:
            raise InvalidProviderUrl(
                f"{url.masked!r} gives the file as an option; write it like 'sqlite:///orders.db'"
            )
        return cls.model_validate({"path": path, **url.query})

    @property
    def file(self) -> Path:
        """The absolute path of the file."""
        return self._file

    @property
    def description(self) -> str:
        """The URL that gives these options."""
        suffix = "" if self.namespace == "default" else f"?namespace={self.namespace}"
        return f"sqlite:///{self.path}{suffix}"

    @property
    def patience(self) -> timedelta:
        """`busy_timeout` as a duration."""
        return timedelta(seconds=self.busy_timeout)
