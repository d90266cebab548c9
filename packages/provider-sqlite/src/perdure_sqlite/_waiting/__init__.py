"""Waiting for work, for changes and for lost leases.

- `waiters`: one waiting call, and when it looks again
- `notifications`: all waiting calls, woken by commits of this process and of others
- `polling`: notices commits of other processes
- `file_watch`: tells that the file was written, where the system can
- `damage_mark`: marks running instances as parked while damage keeps work from being found
"""
