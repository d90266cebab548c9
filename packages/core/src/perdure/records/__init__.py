"""The records that core and a provider hand to each other, by family.

All are frozen and take keywords only, so that a later minor version can add a field with a
default. Payloads are opaque bytes; what a provider needs to route, index or void stands beside
them in plain fields. Instants are microseconds since the epoch; durations are `timedelta`.

- `limits`: the version of the contract, its capabilities, and the bounds that every provider keeps
- `instances`: instances, their messages, their states
- `turns`: turn leases, histories, commits
- `activities`: the activity queue
- `recovery`: reopening and terminating an instance
- `answers`: how a parent learns of the end of a child
- `cuts`: where a history can be cut for a rewind or a fork
- `engines`: which engine an instance needs
- `listing`: queries for instances, and what one of them has still to do
- `history_document`: an instance with all its histories, as JSON text
- `hiding`: events without their payloads
- `queries`: waiting for changes, values, and the management capability

Providers import them from `perdure.contract`.
"""
