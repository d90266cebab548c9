"""Telling what went wrong, and where: exceptions as plain data, frames of user code, log lines.

- `failures`: an exception as plain data, bounded; describing one never raises
- `frames`: tells user code from Perdure's own and from asyncio
- `logs`: log lines about user code, each with fields
"""
