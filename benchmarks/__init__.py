"""How fast Perdure is: the same rows for each provider, its peers, and a bare loop as the floor.

    python -m benchmarks [--short] [--rounds N] [--minutes N] [--row ROW] [--subject SUBJECT]
                         [--large] [--into FOLDER] [--renew] [--remark SENTENCE]

- `rows`: what is measured, and how much of it
- `measuring`: what one run gives: a figure, samples, processor time, memory
- `workloads/`: the rows for Perdure; `floor`: the rows that a bare loop on `sqlite3` can play
- `peers/`: the rows for other engines, and the environments that they run in
- `subjects`: what is compared, each with its settings
- `databases`, `delay`: a PostgreSQL for those that need one, and a proxy that puts it far away
- `one`: plays one row once, in a process of its own, and prints what it gave as JSON
- `runner`: plays all rows of all subjects in turn, again and again
- `bare_asyncio`: beside the rows, what a step takes on asyncio alone, in processor time
- `excerpt`: the few figures of a run that the page on choosing a provider shows
- `report`, `page`, `plots`: medians with their spread as JSON, as tables and as pictures

Absolute figures of a shared machine mean little: compare figures of one run. Nothing leaves the
machine, and everything is bounded in count.
"""
