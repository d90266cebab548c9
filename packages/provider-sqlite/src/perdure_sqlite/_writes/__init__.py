"""Group commit: many operations share one transaction and one fsync.

- `writer`: gathers operations, runs them and commits
- `pending_write`: one operation on its way through a group, and its caller
- `transaction`: what an operation works with: cursor, time, queues, and what it changed
"""
