"""The runtime: leases work from a provider, runs it, commits what came of it.

The public face is `runtime`, with `options`. It puts the other parts together.

Turns:

- `turn_dispatcher` leases instances; `turn_leases` is the register of them
- `leased_instance` runs one instance's turns under one lease, with `turn_services`
- `held_instance` says where an instance stands; `executions` has the executions in memory,
  `histories` reads what it rebuilds them from, `copies` begins rewound ones and forks
- `delivery` is a turn as a function of what came in; `commits` makes its commit;
  `payload_budget` lets few large turns be made at once
- `after_commit` wakes and reports; `turn_store` gives leases back, parks and fails;
  `forced_failure` ends an instance without its code

Activities:

- `activity_worker` takes activities from the queue; `slots` says how many may run
- `activity_leases` is the register of them, each with its one owner
- `activity_runner` runs them; `activity_call` calls one function, `threads` blocking ones;
  `activity_context` is what a function knows about its call
- `activity_store` stores results and gives leases back; `activity_log` tells of them
- `activity_cancellation` tells activities to end; `cancellation_watch` hears of cancellations
  that other processes commit, `end_requests` of cancelled instances that wait for outcomes
- `transactional_activity` writes in one transaction with the result; `worker_tag` is the tag of
  this runtime alone

Both:

- `retention` deletes what is kept no longer
- `polling` looks for work; `renewal` extends leases; `shutdown` ends the runtime
- `bytes_in_flight` says how much of large payloads is held, and how much may be
- `parking` marks what cannot go on; `value_differences` tells of values that differ;
  `observers` calls those of the application
- `isolation_gate` runs suspected work with nothing beside it
- `clock_skew`, `stall_watch` notice clocks that differ and a loop that stands still
- `provider_guard` makes every call end, and tells `health` what fails; `repeated_failures`
  logs a lasting failure once
- `wrappers` are those of plugins, around activities and turns (`wrapped_turn`)
- `storage_usage` tells what the provider asks of its storage
- `host_loop` cuts long work into slices, so that the host's loop does its other work in between;
  `stop_signals`, `unique_ids`
"""
