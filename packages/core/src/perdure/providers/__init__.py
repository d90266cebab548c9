"""Finding and opening providers: by URL or by options, from the entry points of installed packages.

- `loader`: from a URL to an open provider
- `plugins`: plugin managers, filled with what was asked for
- `options`: the options that a URL gives
"""
