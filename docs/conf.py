"""The documentation site: `nox -s site` builds it, and fails on any warning.

The sources are the Markdown files as they are in the repository, so each page can also be read
without the site; the reference is made of the docstrings of the installed packages.
"""

from importlib.metadata import version as version_of

project = "Perdure"
author = "The Perdure developers"
release = version = version_of("perdure")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
root_doc = "docs/site"
include_patterns = [
    "docs/*.md",
    "docs/conformance/*.md",
    "docs/decisions/*.md",
    "docs/reference/*.md",
    "packages/*/README.md",
    "conformance/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]

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
