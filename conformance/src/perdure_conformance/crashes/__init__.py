"""Real processes that are killed: what was acknowledged stays, and everything goes on.

- `workload`: the orchestrations that the processes run
- `job`: the job of a process, and the lines that report its progress
- `process`: the program of such a process, and a handle on one
- `rounds`: kills processes again and again, and looks at what is left
"""

from __future__ import annotations
