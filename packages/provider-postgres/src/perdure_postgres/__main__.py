"""`python -m perdure_postgres`: making the schema, the grants, and a server for development.

python -m perdure_postgres migrate URL         make the schema, or bring it up to date
python -m perdure_postgres grants ROLE [URL]   print the grants that a worker needs; one is a client, too
python -m perdure_postgres client-grants ROLE [URL]   print those of a client that takes no work
python -m perdure_postgres local [DIRECTORY]   run a PostgreSQL until Ctrl-C, and print its URL
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from perdure.contract import ProviderUrl
from perdure.errors import PerdureError

from perdure_postgres._options import PostgresOptions


def main(arguments: list[str]) -> int:
    """Carry out one command; returns its exit code."""
    try:
        match arguments:
            case ["migrate", url]:
                return _migrate(url)
            case ["grants" | "client-grants" as which, role, *rest] if len(rest) <= 1:
                return _grants(role, *rest, client_only=which == "client-grants")
            case ["local", *rest] if len(rest) <= 1:
                return _local(Path(rest[0] if rest else "perdure-postgres-data"))
            case _:
                sys.stderr.write(__doc__ or "")
                return 2
    except PerdureError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _migrate(url: str) -> int:
    from perdure_postgres._opening import make_schema
    from perdure_postgres._schema.migrations import VERSION

    options = PostgresOptions.from_url(ProviderUrl.parse(url))
    before = asyncio.run(make_schema(options))
    said = f"has version {before}" if before >= VERSION else f"went from {before} to {VERSION}"
    sys.stdout.write(f"the schema {options.schema_name!r} of {options.description} {said}\n")
    return 0


def _grants(role: str, url: str = "postgresql:///", *, client_only: bool) -> int:
    from perdure_postgres._schema.migrations import grants

    options = PostgresOptions.from_url(ProviderUrl.parse(url))
    statements = grants(options.schema_name, role, client_only=client_only)
    sys.stdout.writelines(f"{each};\n" for each in statements)
    return 0


def _local(directory: Path) -> int:
    from perdure_postgres.local import LocalUnavailable, running

    try:
        with running(directory.resolve()) as url:
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except LocalUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
