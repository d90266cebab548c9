"""The replay engine: a pure object that is given events and says what to do. No I/O.

- `loop`: asyncio's event loop interface without time, threads or I/O
- `forbidden`: the part of that interface that is refused
- `ordering`: refuses what asyncio would order by address
- `futures`: futures and tasks that hash alike everywhere
- `inbox`: external events and the waits for them
- `work`: scheduled work that has not ended
- `transcript`: the growing history, and the comparison with it in replay
- `recording`: the history of a replay; `comparing`: what must agree with it and what may differ
- `recorded_policy`: a retry policy as the history has it
- `origin`: what an execution sends, as records of the contract
- `turn`: what a turn brings about
- `chance`: randomness that replays
- `commands`: what an orchestration asks for, and the end
- `retrying`: the attempts of an activity under its policy
- `calls`: reads a call of the context
- `execution_log`, `quiet_logger`: what an execution and its code say, once
- `unawaited`: work that nothing has awaited
- `context`: the face of the commands that an orchestration is given
- `incoming`: the events that messages become
- `execution`: one live execution: deliver, run until quiet, collect
- `closing`: ends an execution without its code
- `signals`: what replay raises
"""
