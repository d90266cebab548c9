"""Real processes that are killed: what was acknowledged stays, and everything goes on.

- `workload`: the orchestrations that the processes run
- `job`: what a process is told to do, and what it tells
- `process`: the program of such a process, and a handle on one
- `rounds`: kills processes again and again, and looks at what is left
"""

from __future__ import annotations
