"""What everything speaks of: plain values that know no provider, no loop and no function.

- `identifiers`, `versions`, `durations`, `settings`: the rules for what callers pass, each kept in
  one place
- `details`, `status`: how an instance stands, and why it failed; `parked_reasons`: the words for
  why it is parked
- `comparison`: what happens where a value differs from the history
- `payload`: JSON text, by the annotations of functions; `wire`: what core writes into the opaque
  bytes of the contract
- `guards`: what is refused inside an orchestration
"""
