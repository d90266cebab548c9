"""The replay engine: a pure object that is given events and says what to do. No I/O.

- `loop`: asyncio's event loop interface without time, threads or I/O
- `futures`: the future of scheduled work
- `context`: what an orchestration may ask for
- `retrying`: the attempts of an activity under its policy
- `execution`: one live execution: deliver, run until quiet, collect
- `turn`: what a turn brings about, as records of the contract
- `signals`: what replay raises
"""
