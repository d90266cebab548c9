"""For tests only; the provider imports nothing from here.

- `backend`: what the conformance suite uses beside the provider
- `outages`: lets all statements fail
- `failing_statements`: lets a chosen statement of the writer fail
"""
