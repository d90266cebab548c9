"""The console of Perdure: the command `perdure`, which uses the public client alone.

- `entry`: the command as a process: its exit code, and errors as sentences
- `program`: the program that commands are added to, and what they share
- `session`: the storage and the output of one command
- `choosing`: the options that choose instances
- `applications`: finds an application by `MODULE:APP`
- `records`: the client's records as JSON
- `texts`: times, states and foreign text, for people
- `commands/`: the commands themselves
- `working/`: what a worker is made of
- `web/`: the web page
"""

from perdure_console.entry import main

__all__ = ["main"]
