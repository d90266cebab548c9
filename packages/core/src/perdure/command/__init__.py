"""The command `perdure`: looks at a storage and repairs what stands in it, and checks code against it.

- `entry`: the parser, and the exit code
- `histories`: `check` and `export`
- `looking`: `list`, `describe` and `tree`
- `mending`: `retry`, `rewind`, `cancel`, `terminate` and `delete`
- `filters`: the options that choose instances
- `answers`: what the commands print, for people and as JSON
"""

from perdure.command.entry import main

__all__ = ["main"]
