"""The replay engine: runs an orchestration's code from its history, deterministically. No I/O.

Execution:

- `execution`: one live execution; delivers events and messages, and rebuilds it from a history
- `commands`: what the code asks for, and how an execution ends
- `context`: what an orchestration gets; `scheduling`, `progress_context`, `event_context`: its parts
  that schedule work, show where the instance stands, and concern external events; `calls`: how a
  call is read
- `event_commands`, `progress`: the commands of the latter two; `surroundings`: what no history has
- `copying`: the history that a rewound execution or a fork begins with
- `turn`: the events that messages become, the work under way, and what a turn brings about
- `outgoing`: what an execution sends, as records of the contract
- `inbox`: external events and the waits for them
- `retrying`, `recorded_policy`: the attempts of an activity, and its policy as the history has it
- `forced_failure`: fails an execution without running its code

History:

- `transcript`: the growing history, and the comparison with it in replay
- `recording`, `comparing`: finding the recorded command, and what must agree with it
- `present_names`: histories under the present names of functions
- `signals`: the errors that replay raises

Determinism:

- `loop`: asyncio's event loop interface without time, threads or I/O
- `guarded_loop`, `forbidden_calls`, `boundary`: refuses other threads, and calls that cannot be
  replayed
- `stable_hashes`, `futures`, `ordering`: the same order of tasks and futures in every process
- `randomness`: random numbers and UUIDs that replay
- `unawaited`: finds work that nothing has awaited

Logs:

- `execution_log`, `replay_logger`: log each thing once, and nothing in replay
- `positions`: where each task stands, and what it waits for
- `code_locations`: the lines of user code that run or wait, and the stacks of waiting tasks
"""
