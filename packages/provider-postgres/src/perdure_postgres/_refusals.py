"""Why a connection cannot be made, where another try of the same URL meets the same answer.

The driver has no SQLSTATE for a connection that was not made, only the text of libpq or of the
server. What is not known here, such as a message in another language, counts as a failure that may
pass; its text is in the error all the same.
"""

from __future__ import annotations

import re
from typing import Final

import psycopg

_URL: Final = "correct the URL, or libpq's environment variables"
_ROLE: Final = "check the user of the URL"
_UNPROVEN: Final = (
    "the password is wrong or missing; check user and password of the URL, PGPASSWORD and ~/.pgpass"
)
_ACCESS: Final = (
    "the server takes no such connection; check pg_hba.conf, and user, database and sslmode"
)
_TLS: Final = "check sslmode and sslrootcert of the URL, and the server's certificate"
_ADVICE: Final = (
    # libpq, about what it was given.
    (r"invalid .* value: ", _URL),
    (r"invalid integer value ", _URL),
    (r"invalid port number: ", _URL),
    (r"could not match \d+ .* to \d+ hosts", _URL),
    (r"bad value for connect_timeout", _URL),
    (r"definition of service .* not found", _URL),
    (r"service file .* not found", _URL),
    # libpq, about what it needs for TLS, and what the server has of it.
    (r"server does not support SSL", _TLS),
    (r"root certificate file", _TLS),
    (r"certificate verify failed", _TLS),
    (r"server certificate for .* does not match host name", _TLS),
    (r"certificate file \"", "check sslcert and sslkey of the URL"),
    (r"private key file \"", "check sslcert and sslkey of the URL"),
    (r"channel binding required", "check channel_binding of the URL"),
    # libpq, about an answer of something else.
    (
        r"received invalid response to|expected authentication request",
        "no PostgreSQL answers there; check host and port of the URL",
    ),
    # The server, or a pooler.
    (r"password authentication failed|no password supplied|empty password returned", _UNPROVEN),
    (r"no pg_hba\.conf entry|pg_hba\.conf rejects connection", _ACCESS),
    (
        r"database \".*\" does not exist|no such database",
        "create the database, or correct its name",
    ),
    (r"permission denied for database", "GRANT CONNECT on the database to the role"),
    (r"role \".*\" does not exist|no such user", _ROLE),
    (r"role \".*\" is not permitted to log in", f"{_ROLE}, or ALTER ROLE … LOGIN"),
    (r"authentication failed for user", _ROLE),
)
_UNCONNECTED: Final = re.compile(
    "connection (failed|is bad|timeout expired)|failed to resolve host"
)
_OF_SEVERAL: Final = "Multiple connection attempts failed. All failures were:\n"


def advice_on(error: BaseException) -> str | None:
    """What to change, where a connection was refused for good; None where another try may succeed.

    Of several servers or addresses each has to refuse it for good.
    """
    if not isinstance(error, psycopg.Error) or error.sqlstate is not None:
        return None
    _, several, tries = str(error).partition(_OF_SEVERAL)
    # The attempts begin with a hyphen each, and may have further lines.
    texts = re.split(r"^- ", tries, flags=re.MULTILINE)[1:] if several else [str(error)]
    found = [_advice_of(text) for text in texts]
    return None if None in found else found[-1]


def is_unconnected(error: BaseException) -> bool:
    """Whether no connection was made."""
    return isinstance(error, psycopg.OperationalError) and bool(_UNCONNECTED.match(str(error)))


def _advice_of(text: str) -> str | None:
    return next((advice for words, advice in _ADVICE if re.search(words, text)), None)
