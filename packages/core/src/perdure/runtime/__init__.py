"""The runtime: leases work from a provider, runs it, commits what came of it.

- `runtime`: the public face; starts and ends the loops
- `turns`: leases instances; `instance_run`: one instance's turns under one lease
- `commits`: what a turn's commit says
- `histories`: reads histories; `without_code`: ends an instance without its code
- `aftermath`: what follows a commit outside of the store
- `activities`: leases and runs activities; `calling`: calls their functions;
  `activity_context`: what they know about themselves
- `stalls`: notices a loop that stands still
- `renewal`: extends leases; `clock_trouble`: notices clocks that disagree by more than a lease
- `cache`: live executions between turns; `stepping`: runs them outside of host tasks
- `activity_log`, `parkings`: tell of activities that failed and of parked instances
- `differing`: tells of values that differ from the history
- `alone`: lets suspicious work run alone; `observers`, `options`, `pausing`
"""
