"""Writing orchestrations and activities: registering functions, and what is checked of their code.

- `registry`: which functions are orchestrations and activities, under which names and versions
- `signatures`, `references`: what a function says about its name, its input and its output
- `retry`: retry policies
- `determinism`, with `forbidden_uses` and `direct_calls`: what the code of an orchestration must
  not do, found by reading the compiled code (`loads`)
"""
