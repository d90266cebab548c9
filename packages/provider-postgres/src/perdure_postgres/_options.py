"""The options of the PostgreSQL provider, and how a URL gives them."""

from __future__ import annotations

from typing import Final, Literal, Self
from urllib.parse import unquote

from perdure.contract import ProviderUrl
from perdure.errors import InvalidProviderUrl
from pydantic import BaseModel, ConfigDict, Field, SecretStr

DRIVER_OPTIONS: Final = (
    "host",
    "port",
    "application_name",
    "channel_binding",
    "connect_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "passfile",
    "service",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
)
"""The options that go to libpq as they are."""


class PostgresOptions(BaseModel):
    """`postgresql://user:password@host:port/database`, with options after a `?`.

    What a URL leaves out is taken from libpq's environment variables, such as `PGPASSWORD`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    user: str | None = None
    password: SecretStr | None = None
    database: str | None = None
    driver: dict[str, str] = Field(default_factory=dict)
    """Options of libpq, such as `host`, `port` and `sslmode`."""
    namespace: str = Field(default="default", min_length=1)
    """Separates applications that share a schema."""
    schema_name: str = Field(default="perdure", min_length=1, max_length=63, alias="schema")
    """The schema of the tables and functions."""
    create: bool = False
    """Make the schema when the provider is opened, or bring it up to date."""
    durability: Literal["full", "normal"] = "full"
    """`full`: an acknowledged call survives a crash of the server. `normal`: the last calls before a
    crash may be lost, and nothing else."""
    connections: int = Field(default=4, ge=1, le=100)
    """The most connections of this provider object, besides the one that listens."""
    notify: bool = True
    """Tell other processes of work and of changes by NOTIFY. Without it they poll."""
    listen: str | None = None
    """`host:port` for the connection that listens, where the URL names a pooler."""
    call_timeout: float = Field(default=30.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds after which a statement is given up."""

    @classmethod
    def from_url(cls, url: ProviderUrl) -> Self:
        """Read a URL as libpq does; `user`, `password` and `database` stand before the `?`."""
        user_information, _, hosts = url.netloc.rpartition("@")
        user, colon, password = user_information.partition(":")
        database = url.path.removeprefix("/")
        if "/" in database:
            raise InvalidProviderUrl(
                f"{url.masked!r} has more than one name after the host; write it like"
                " 'postgresql://user@host/database'"
            )
        misplaced = {"user", "password", "database", "driver"} & url.query.keys()
        if misplaced:
            raise InvalidProviderUrl(
                f"{url.masked!r} gives {sorted(misplaced)[0]!r} as an option; write it like"
                " 'postgresql://user:password@host/database'"
            )
        driver = _driver_options(hosts)
        driver |= {name: url.query[name] for name in DRIVER_OPTIONS if name in url.query}
        for each in (driver, _driver_options(url.query.get("listen", ""))):
            if wrong := _fault_of_ports(each):
                raise InvalidProviderUrl(f"{url.masked!r} {wrong}")
        rest = {name: value for name, value in url.query.items() if name not in DRIVER_OPTIONS}
        return cls.model_validate(
            {
                "user": unquote(user) or None,
                "password": unquote(password) if colon and password else None,
                "database": database or None,
                "driver": driver,
                **rest,
            }
        )

    @property
    def description(self) -> str:
        """The URL without user and password."""
        host = self.driver.get("host", "")
        port = self.driver.get("port")
        where = f"?host={host}" if host.startswith("/") else ""
        netloc = "" if where else f"{host}{f':{port}' if port else ''}"
        suffix = "" if self.namespace == "default" else f"namespace={self.namespace}"
        options = "&".join(filter(None, (where.removeprefix("?"), suffix)))
        return f"postgresql://{netloc}/{self.database or ''}{f'?{options}' if options else ''}"

    @property
    def conninfo(self) -> dict[str, str]:
        """The parameters of a connection."""
        given = {"user": self.user, "dbname": self.database}
        if self.password is not None:
            given["password"] = self.password.get_secret_value()
        named = {name: value for name, value in given.items() if value is not None}
        return {"connect_timeout": "10", "application_name": "perdure", **self.driver, **named}

    @property
    def listening_conninfo(self) -> dict[str, str]:
        """The parameters of the connection that listens."""
        if self.listen is None:
            return self.conninfo
        # The pooler's port is not the server's.
        others = {name: value for name, value in self.conninfo.items() if name != "port"}
        return others | _driver_options(self.listen)


def _fault_of_ports(driver: dict[str, str]) -> str | None:
    """What is wrong with the ports, which libpq would take for a server that is away."""
    hosts, ports = (driver[name].split(",") if name in driver else [] for name in ("host", "port"))
    for port in filter(None, ports):
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            return f"has the port {port!r}; give a number from 1 to 65535"
    if hosts and len(ports) > 1 and len(ports) != len(hosts):
        return f"has {len(ports)} ports; give one, or as many as hosts, which are {len(hosts)}"
    return None


def _driver_options(hosts: str) -> dict[str, str]:
    """Host and port, or several of each with commas, as libpq takes them."""
    names: list[str] = []
    ports: list[str] = []
    for each in filter(None, hosts.split(",")):
        if each.startswith("["):
            host, _, port = each[1:].partition("]")
            port = port.removeprefix(":")
        else:
            host, _, port = each.partition(":")
        names.append(unquote(host))
        ports.append(port)
    found = {"host": ",".join(names), "port": ",".join(ports)}
    return {name: value for name, value in found.items() if value.strip(",")}
