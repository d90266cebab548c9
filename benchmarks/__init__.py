"""How fast Perdure is: the same rows for each provider, and for a bare loop that is the floor.

    python -m benchmarks [--short] [--rounds N] [--row ROW ...] [--subject SUBJECT ...] [--into FOLDER]

- `rows`: what is measured, and how much of it
- `measuring`: what one run gives: a figure, samples, processor time, memory
- `workloads/`: the rows for Perdure; `floor`: the rows that a bare loop on `sqlite3` can play
- `subjects`: what is compared, each with its settings
- `one`: plays one row once, in a process of its own, and prints what it gave as JSON
- `runner`: plays all rows of all subjects in turn, again and again
- `report`, `plots`: medians with their spread as JSON, as a table and as pictures

Absolute figures of a shared machine mean little: compare figures of one run. Nothing leaves the
machine, and everything is bounded in count.
"""
