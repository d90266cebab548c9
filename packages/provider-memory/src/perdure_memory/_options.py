"""The options of the memory provider, and how a URL gives them."""

from __future__ import annotations

from typing import Self
from urllib.parse import unquote

from perdure.contract import ProviderUrl
from perdure.errors import InvalidProviderUrl
from pydantic import BaseModel, ConfigDict, Field


class MemoryOptions(BaseModel):
    """`memory://` or `memory://name`, with `?namespace=…`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(default=None, min_length=1)
    """The name of a store that all providers of the process with this name share. None: a private
    store."""
    namespace: str = Field(default="default", min_length=1)
    """Separates applications that share a named store."""

    @classmethod
    def from_url(cls, url: ProviderUrl) -> Self:
        """Read a URL: its netloc is the name of the store."""
        if url.path:
            raise InvalidProviderUrl(
                f"{url.masked!r} has a path, which a memory store does not have;"
                " write it like 'memory://name'"
            )
        if "name" in url.query:
            raise InvalidProviderUrl(
                f"{url.masked!r} gives the store's name as an option; write it like 'memory://name'"
            )
        return cls.model_validate({"name": unquote(url.netloc) or None, **url.query})

    @property
    def description(self) -> str:
        """The URL that gives these options."""
        suffix = "" if self.namespace == "default" else f"?namespace={self.namespace}"
        return f"memory://{self.name or ''}{suffix}"
