"""The model test: a provider and the reference are asked the same, and must answer the same.

- `intents`: what may be asked, as small values that shrink well
- `calls`: intents made into calls, and what comes of a call in a form that can be compared
- `described`: records as short text
- `machine`: the state machine, and the check
"""
