"""Writing orchestrations and activities: registering functions, and what is checked of their code.

- `parameters`: what a function takes; how arguments become a payload, and come back
- `functions`: what the signature of a function says, and what is kept of a registered one
- `registry`: which functions are orchestrations and activities, under which names and versions
- `catalog`: what the registries of one runtime have together, by the names in a storage
- `aliases`: former names of registered functions
- `retry`: retry policies
- `determinism`: what the code of an orchestration must not use, found by reading the compiled
  code (`loads`)
- `startup`: what a runtime refuses to start with, once it knows all that is registered
"""
