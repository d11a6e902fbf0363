"""For programs of people: what they need to call models with the login that `meshward login` keeps.

    api_key(edge)           a callable for OpenAI's `api_key`, asked before each request
    BearerAuth(edge)        an auth class for httpx2 clients
    http_client(edge)       an httpx2 client that trusts the edge and sends the token to it alone
    async_http_client(edge)
    client_factory(edge)    for `huggingface_hub.set_client_factory`

Each refreshes by itself. `edge` is needed only where somebody is signed in at more than one: without it
$MESHWARD_EDGE counts, then the instance in $MESHWARD_STATE or ./.meshward, then the only login there is.
"""

from __future__ import annotations

from meshward.clients.huggingface import client_factory
from meshward.clients.openai import api_key
from meshward.clients.web import BearerAuth, async_http_client, http_client

__all__ = ["BearerAuth", "api_key", "async_http_client", "client_factory", "http_client"]
