"""The same rows for other engines, each in an environment of its own.

- `environments`: builds the environments; `python -m benchmarks.peers.environments` does so
- `playing`: the rows, on what every engine can do: start flows, wait for them, send events
- `duroxide_`, ...: one adapter for each engine; the file of the same name that ends in `.txt` has
  the versions of everything that its environment gets

An adapter is a program: `python -m benchmarks.peers.NAME STORE ROW SIZE FOLDER` plays a row once
and prints what it gave as JSON. What a flow returned and how many activities ran is checked, so
that no figure comes from work that was not done.
"""
