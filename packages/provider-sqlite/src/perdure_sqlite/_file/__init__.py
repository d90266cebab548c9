"""The file itself: opening and creating it, guarding it, and translating the driver's errors.

- `database`: the connections to an open file, and their settings
- `creation`: creating a new file atomically
- `identity`: whether the path still names the file that is open
- `disk_space`: how long the write-ahead log may grow
- `errors`: the driver's errors as errors of the contract
"""
