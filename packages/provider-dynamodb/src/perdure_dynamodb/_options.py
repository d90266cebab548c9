"""The options of the DynamoDB provider, and how a URL gives them."""

from __future__ import annotations

from typing import Self
from urllib.parse import unquote

from perdure.contract import ProviderUrl
from perdure.errors import InvalidProviderUrl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

DEFAULT_SHARDS = 4
MOST_SHARDS = 256


class DynamoDBOptions(BaseModel):
    """`dynamodb://Table?region=eu-west-1`, with the options below as `&name=value`.

    Credentials come from where boto3 looks for them (environment, profile, role), unless both
    keys are given here.
    """

    # Errors show no input: it may be a secret, even where it is of a wrong type.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    table: str = Field(min_length=3, max_length=255, pattern=r"^[A-Za-z0-9_.\-]+$")
    namespace: str = Field(default="default", min_length=1, max_length=256)
    """Keeps apart what shares a table."""
    region: str | None = Field(default=None, min_length=1)
    """None: as boto3 is configured."""
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://[^\s/]+[^\s]*$")
    """Where DynamoDB Local, or a VPC endpoint, is; None: the region's own."""
    profile: str | None = Field(default=None, min_length=1)
    """A named profile of boto3's configuration."""
    access_key_id: str | None = Field(default=None, min_length=1)
    secret_access_key: SecretStr | None = Field(default=None, min_length=1)
    session_token: SecretStr | None = Field(default=None, min_length=1)
    create_table: bool = False
    """Create the table, on demand, where it does not exist."""
    direct: bool = False
    """Sign and send requests without the driver, which then only finds credentials and endpoint."""
    shards: int | None = Field(default=None, ge=1, le=MOST_SHARDS)
    """Into how many parts the queues are split. Stored with the namespace when it is first
    opened (4 where none is given); a larger number than the stored one makes it grow."""

    @field_validator("shards", mode="before")
    @classmethod
    def _is_no_truth_value(cls, shards: object) -> object:
        if isinstance(shards, bool):
            raise ValueError("it is a truth value; pass a number")
        return shards

    @model_validator(mode="after")
    def _has_both_keys_or_none(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("one of access_key_id and secret_access_key is missing; pass both")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token is given without the keys that it belongs to")
        return self

    @classmethod
    def from_url(cls, url: ProviderUrl) -> Self:
        """The netloc is the table's name."""
        if url.path not in ("", "/") or "@" in url.netloc or not url.netloc:
            raise InvalidProviderUrl(
                f"{url.masked!r} does not name a table;"
                " write it like 'dynamodb://Table?region=eu-west-1'"
            )
        if "table" in url.query:
            raise InvalidProviderUrl(
                f"{url.masked!r} gives the table as an option; write it like 'dynamodb://Table'"
            )
        return cls.model_validate({"table": unquote(url.netloc), **url.query})

    @property
    def description(self) -> str:
        """The URL that gives these options, without credentials."""
        shown = {
            "namespace": None if self.namespace == "default" else self.namespace,
            "region": self.region,
            "endpoint_url": self.endpoint_url,
        }
        query = "&".join(f"{name}={value}" for name, value in shown.items() if value is not None)
        return f"dynamodb://{self.table}" + (f"?{query}" if query else "")
