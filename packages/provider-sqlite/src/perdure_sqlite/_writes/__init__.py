"""Group commit: many operations share one transaction and one fsync.

- `writer`: runs the operations of a group and commits
- `transaction`: what an operation works with: cursor, time, queues, and what it changed
"""
