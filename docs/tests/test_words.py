"""Words that hide who or what acts: they stand nowhere in sources, messages, tests and documents.

A sentence names the component that acts: the runtime, the provider, another process, the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .markdown import ROOT

INSTEAD = {
    "nobody": "name what does not: no runtime, no other process, no caller",
    "somebody": "name it: another process, the caller, the operator",
    "anybody": "name it: any process, any caller",
    "everybody": "name them: all processes, every caller",
    "whoever": "name it: the process that, the caller that",
    "whomever": "name it: the process that, the caller that",
    "anew": "again",
    "hitherto": "until now",
}
FOLDERS = ("benchmarks", "compatibility", "conformance", "docs", "examples", "packages", ".github")
GENERATED = ("docs/conformance/", "compatibility/0.", "packages/core/tests/replay/stored/")
KINDS = (".md", ".py", ".toml", ".txt", ".yml")


def texts() -> Iterator[Path]:
    yield from (path for path in ROOT.iterdir() if path.suffix in KINDS)
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in KINDS and path.name != "LICENSE" and not name.startswith(GENERATED):
                yield path


def found_in(text: str) -> list[str]:
    # Within names too, such as `LeasesToNobody` and `test_nobody_waits`.
    return re.findall("|".join(INSTEAD), text, re.IGNORECASE)


def test_no_text_hides_who_acts() -> None:
    hidden = [
        f"{path.relative_to(ROOT)}:{number}: {word!r}; write instead: {INSTEAD[word.lower()]}"
        for path in texts()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for word in found_in(line)
    ]

    assert hidden == [], "\n" + "\n".join(hidden)


def test_a_word_is_found_in_sentences_and_in_names() -> None:
    found = found_in("Nobody waits; LeasesToNobody, test_nobody_waits")

    assert found == ["Nobody", "Nobody", "nobody"]
