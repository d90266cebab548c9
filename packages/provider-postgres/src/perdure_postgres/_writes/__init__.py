"""Writes: what a call of the contract changes, and groups of them that share a transaction.

- `document`: the changes of a group, as the function `write` of the database takes them
- `changes`: creations, sends, commits, completions, reopenings and terminations as such changes
- `writer`: gathers the writes that wait into groups, and answers their callers
"""
