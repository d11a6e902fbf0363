"""For the OpenAI client, whose `api_key` may be a callable that it asks before each request."""

from __future__ import annotations

from collections.abc import Callable

from meshward.clients.account import Account


def api_key(edge: str | None = None) -> Callable[[], str]:
    """A callable that returns a fresh token."""
    return Account(edge).token
