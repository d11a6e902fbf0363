"""httpx2 clients that send the stored login's token to its edge, and to nobody else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import anyio.to_thread
import httpx2

from meshward.clients.account import Account

_TIMEOUT = httpx2.Timeout(600, connect=5)  # seconds; a model may think for long


class BearerAuth(httpx2.Auth):
    """Puts a fresh token into requests to the edge, in place of any other; leaves all others as they are."""

    def __init__(self, edge: str | None = None, *, account: Account | None = None) -> None:
        self._account = account or Account(edge)

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        if self._account.covers(request.url):
            request.headers["Authorization"] = f"Bearer {self._account.token()}"
        yield request

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Refreshes in a thread: it may wait for the issuer, or for another process that refreshes."""
        if self._account.covers(request.url):
            fresh = self._account.is_fresh
            token = self._account.token() if fresh else await anyio.to_thread.run_sync(self._account.token)
            request.headers["Authorization"] = f"Bearer {token}"
        yield request


def http_client(edge: str | None = None, **options: Any) -> httpx2.Client:
    """An `httpx2.Client` for the edge; `options` are its own."""
    account = Account(edge)
    return httpx2.Client(auth=BearerAuth(account=account), **_client_options(account, options))


def async_http_client(edge: str | None = None, **options: Any) -> httpx2.AsyncClient:
    """An `httpx2.AsyncClient` for the edge; `options` are its own."""
    account = Account(edge)
    return httpx2.AsyncClient(auth=BearerAuth(account=account), **_client_options(account, options))


def _client_options(account: Account, options: dict[str, Any]) -> dict[str, Any]:
    return {"base_url": account.name, "verify": account.tls, "timeout": _TIMEOUT} | options
