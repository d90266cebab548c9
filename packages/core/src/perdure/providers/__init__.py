"""Finding and opening providers, by URL or by options, from the entry points of installed packages.

- `loader`: from a URL or options to an open provider
- `plugins`: plugin managers, and the plugins of installed packages
- `options`: the options in a URL
- `installed`: every provider that is installed, and what is wrong with it
"""
