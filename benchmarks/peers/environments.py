"""The environments of the peers: `python -m benchmarks.peers.environments` builds them.

Each is built once for each list of versions and each Python, below `build/peers`. What cannot be
built here is no error: the report says of its subjects why they were not played.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LISTS = Path(__file__).parent
_HOME = ROOT / "build" / "peers"
_NPM = ("install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund")
PEERS = ("dbos", "restate", "duroxide", "durabletask")


def python_of(peer: str) -> Path:
    """The interpreter that has the peer."""
    return _HOME / peer / "bin" / "python"


def restate_server() -> Path:
    """The program of Restate's server."""
    return _HOME / "restate" / "node_modules" / ".bin" / "restate-server"


def missing(peer: str) -> str:
    """Why the peer cannot be played; empty if it can."""
    if _stamp(peer).exists() and _stamp(peer).read_text("utf-8") == _wanted(peer):
        return ""
    failure = _HOME / f"{peer}.failed"
    if failure.exists():
        return failure.read_text("utf-8")
    return "its environment is not built; `nox -s bench` builds it"


def versions(peer: str) -> Mapping[str, str]:
    """The versions of what the list names before its first empty line, and of what npm brings."""
    first = _list(peer).read_text("utf-8").partition("\n\n")[0]
    pinned = (line.partition("==") for line in first.splitlines() if "==" in line)
    brought: dict[str, str] = json.loads(_of_npm(peer) or '{"dependencies": {}}')["dependencies"]
    return {name: version for name, _, version in pinned} | brought


def build(peer: str) -> None:
    """Build the environment, unless it stands, and note why where that fails."""
    if not missing(peer):
        return
    shutil.rmtree(_HOME / peer, ignore_errors=True)
    failure = _HOME / f"{peer}.failed"
    failure.unlink(missing_ok=True)
    _HOME.mkdir(parents=True, exist_ok=True)
    try:
        _run(sys.executable, "-m", "venv", str(_HOME / peer))
        install = ("install", "--quiet", "--disable-pip-version-check", "--requirement")
        _run(str(python_of(peer)), "-m", "pip", *install, str(_list(peer)))
        if described := _of_npm(peer):
            (_HOME / peer / "package.json").write_text(described, "utf-8")
            _run("npm", *_NPM, "--prefix", str(_HOME / peer))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{peer} cannot be built: {error}", file=sys.stderr)
        failure.write_text(f"its environment could not be built: {type(error).__name__}", "utf-8")
    else:
        _stamp(peer).write_text(_wanted(peer), "utf-8")


def _run(*words: str) -> None:
    print(*words, file=sys.stderr)
    subprocess.run(words, check=True, stdout=sys.stderr)  # noqa: S603 # commands of this module


def _list(peer: str) -> Path:
    return _LISTS / f"{peer}.txt"


def _of_npm(peer: str) -> str:
    """What npm installs beside, as its `package.json`; empty if nothing."""
    described = _LISTS / f"{peer}.json"
    return described.read_text("utf-8") if described.exists() else ""


def _stamp(peer: str) -> Path:
    return _HOME / peer / "built"


def _wanted(peer: str) -> str:
    return f"{platform.python_version()}\n{_list(peer).read_text('utf-8')}{_of_npm(peer)}"


if __name__ == "__main__":
    for each in PEERS:
        build(each)
