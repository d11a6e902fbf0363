"""The demo's people and its one confidential client, and how a program signs in as one of them.

Passwords and secrets are made at the identity provider's first start, into STATE/demo/accounts.json (0600).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import Exit, MeshwardError
from meshward.kit.secret import Secret

AUDIENCE = "meshward-demo"
PUBLIC_CLIENT = "demo-cli"
BATCH_CLIENT = "demo-batch"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "alice": ("data-science",),
    "bob": ("sales",),
    "carol": ("ml-platform",),
    BATCH_CLIENT: ("batch",),
}
PEOPLE = tuple(name for name in GROUPS if name != BATCH_CLIENT)
_FILE = "accounts.json"


@dataclass(frozen=True, slots=True)
class Accounts:
    """The password of each person and the secret of the batch client, by name."""

    secrets: Mapping[str, Secret]

    def accepts(self, name: str, password: str) -> bool:
        """Whether `name` is a person of the demo and `password` theirs."""
        known = self.secrets.get(name) if name in PEOPLE else None
        return known is not None and secrets.compare_digest(known.reveal().encode(), password.encode())


def demo_directory(state: Path) -> Path:
    """Where the demo keeps its secrets."""
    return state / "demo"


def load_accounts(state: Path) -> Accounts:
    """The accounts of the demo that runs with `state`. Raises MeshwardError where there are none."""
    path = demo_directory(state) / _FILE
    try:
        stored = json.loads(path.read_text())
        return Accounts({name: Secret(stored[name]) for name in GROUPS})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MeshwardError(
            "MW2901",
            f"`{path}` has no demo accounts ({type(error).__name__})",
            "Start the demo, `meshward up --demo`, which makes them; delete a damaged file first.",
            exit_code=Exit.USAGE,
        ) from None


def load_or_create_accounts(state: Path) -> Accounts:
    """The accounts, made now if this is the first start."""
    path = private_directory(demo_directory(state)) / _FILE
    if not path.exists():
        write_atomic(path, json.dumps({name: secrets.token_urlsafe(12) for name in GROUPS}, indent=1))
    return load_accounts(state)


def token_for(idp_url: str, account: str, state_dir: Path) -> Secret:
    """An access token for a demo person: the whole device flow (RFC 8628), their password typed for them.

    Raises MeshwardError if the account does not exist or the provider does not answer as it should.
    """
    accounts = load_accounts(state_dir)
    if account not in PEOPLE:
        raise MeshwardError(
            "MW2902", f"no demo account is called `{account}`", f"Use one of {', '.join(PEOPLE)}."
        )
    with _session() as http:
        endpoints = _discover(http, idp_url)
        # 1. The device asks for a code.
        request = {"client_id": PUBLIC_CLIENT, "scope": "openid"}
        device = _post(http, endpoints["device_authorization_endpoint"], request).json()
        # 2. The person approves it on the provider's page.
        form = {"user_code": device["user_code"], "account": account, "decision": "approve"}
        form["password"] = accounts.secrets[account].reveal()
        _post(http, device["verification_uri"], form)
        # 3. The device collects its token.
        grant = {"grant_type": DEVICE_GRANT, "device_code": device["device_code"], "client_id": PUBLIC_CLIENT}
        return Secret(_post(http, endpoints["token_endpoint"], grant).json()["access_token"])


def batch_token(idp_url: str, state_dir: Path) -> Secret:
    """An access token of the confidential client `demo-batch` (client credentials). Raises MeshwardError."""
    secret = load_accounts(state_dir).secrets[BATCH_CLIENT].reveal()
    with _session() as http:
        endpoint = _discover(http, idp_url)["token_endpoint"]
        grant = {"grant_type": "client_credentials", "client_id": BATCH_CLIENT, "client_secret": secret}
        return Secret(_post(http, endpoint, grant).json()["access_token"])


def _session() -> httpx2.Client:
    """No proxies and no redirects: a password or a token goes to the provider or nowhere."""
    return httpx2.Client(trust_env=False, follow_redirects=False, timeout=10)


def _discover(http: httpx2.Client, idp_url: str) -> dict[str, Any]:
    """The provider's metadata, if it is the provider that was asked for and keeps to its own address."""
    try:
        found: dict[str, Any] = (
            http.get(f"{idp_url}/.well-known/openid-configuration").raise_for_status().json()
        )
    except (httpx2.HTTPError, ValueError) as error:
        raise _unexpected(idp_url, type(error).__name__) from None
    if found.get("issuer") != idp_url:
        raise _unexpected(idp_url, "it names another issuer")
    return found


def _post(http: httpx2.Client, url: str, form: Mapping[str, str]) -> httpx2.Response:
    try:
        answer = http.post(url, data=dict(form))
    except httpx2.HTTPError as error:
        raise _unexpected(url, type(error).__name__) from None
    if answer.status_code != 200:
        raise _unexpected(url, f"status {answer.status_code}")
    return answer


def _unexpected(url: str, what: str) -> MeshwardError:
    return MeshwardError(
        "MW2903",
        f"the demo identity provider did not answer at `{url}` as it should: {what}",
        "Is the demo running with this state directory? `meshward status` tells.",
    )
