"""For tests only; the provider imports nothing from here.

- `backend`: what the conformance suite uses beside the provider
- `failing_statements`: lets chosen statements fail
"""
