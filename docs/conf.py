"""The documentation site: `nox -s site` builds it, and fails on any warning.

The sources are the Markdown files as they are in the repository, so you can also read each page
without the site; the API reference is made of the docstrings of the installed packages. The
table of contents is `index.md`: each of its headings becomes a part of the sidebar, with the pages
that are linked below it.
"""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Perdure"
author = "The Perdure developers"
release = version = version_of("perdure")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "docs/index.md",
    *(
        f"docs/{folder}/**.md"
        for folder in ("start", "write", "operate", "explain", "look-up", "build-on-it")
    ),
    "docs/benchmarks/*.md",
    "docs/conformance/*.md",
    "docs/tests/questions.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "compatibility/README.md",
]
# Environments, which have thousands of files to look at.
exclude_patterns = [".*", "build"]

# Links within a page name GitHub's anchors; the tests check them too.
myst_heading_anchors = 4
myst_enable_extensions = ["fieldlist"]

# A name in single backticks is code, in docstrings as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = "Perdure"
html_copy_source = True
html_extra_path = ["site"]  # leads from the root of the site to its first page


BELOW = {
    "docs/explain/decisions/README": ["[!R]*"],
    "docs/build-on-it/checks": ["../conformance/*"],
    "CONTRIBUTING": ["compatibility/README", "docs/tests/questions"],
}
"""Pages of the sidebar, and those that it has below them."""


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the sidebar's parts to the pages, which stay plain Markdown in the repository."""
    if name == root_doc:
        parts = [part.partition("\n") for part in source[0].split("\n## ")[1:]]
        for caption, _, part in parts:
            source[0] += contents(f":caption: {caption}", *re.findall(r"\]\(([^)]+)\.md\)", part))
    elif name in BELOW:
        source[0] += contents(":glob:", *BELOW[name])


def contents(*lines: str) -> str:
    return "\n\n" + "\n".join(["```{toctree}", ":hidden:", *lines, "```"]) + "\n"


def leave_out_of_search(app: Sphinx) -> None:
    """Keep generated reports out of the search: their thousands of lines would hide the pages."""
    for name in app.env.found_docs:
        if name.startswith("docs/conformance/"):
            app.env.metadata[name]["no-search"] = "true"


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_contents)
    app.connect("env-updated", lambda app, env: leave_out_of_search(app))
