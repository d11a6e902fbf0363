"""For huggingface_hub, which makes one client for all that it calls, the Hub included.

By itself it sends the saved Hugging Face token to any URL. With this factory the edge gets the login's token
in its place, and the Hub still gets its own.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx2

from meshward.clients.account import Account
from meshward.clients.web import BearerAuth


def client_factory(edge: str | None = None) -> Callable[[], httpx2.Client]:
    """What `huggingface_hub.set_client_factory` takes. Only the edge is trusted by the edge's own roots."""
    from huggingface_hub import get_session

    account, hooks = Account(edge), get_session().event_hooks

    def make() -> httpx2.Client:
        return httpx2.Client(
            auth=BearerAuth(account=account),
            mounts={account.name: httpx2.HTTPTransport(verify=account.tls)},
            event_hooks=hooks,
            follow_redirects=True,
            timeout=None,
        )

    return make
