"""The registry of the site, and the client that its views use."""

from __future__ import annotations

import threading

import perdure
from django.conf import settings

registry = perdure.Registry()
_opening = threading.Lock()
_client: perdure.BlockingClient | None = None


def client() -> perdure.BlockingClient:
    """One client for all threads of a process, opened by its first request: after the fork."""
    global _client
    with _opening:
        if _client is None:
            _client = perdure.BlockingClient.open(settings.PERDURE_STORAGE)
        return _client
