"""The demo's people and its one confidential client, and how a program signs in as one of them.

Passwords and secrets are made at the identity provider's first start, into STATE/demo/accounts.json (0600).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from meshward.kit import codes
from meshward.kit.durable import private_directory
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.kit.statefile import StateFile, put_under

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


@dataclass(frozen=True, slots=True)
class Accounts:
    """The password of each person and the secret of the batch client, by name."""

    secrets: Mapping[str, Secret]

    def accepts(self, name: str, password: str) -> bool:
        """Whether `name` is a person of the demo and `password` theirs."""
        known = self.secrets.get(name) if name in PEOPLE else None
        return known is not None and secrets.compare_digest(known.reveal().encode(), password.encode())


@dataclass(frozen=True, slots=True)
class KeptAccounts:
    accounts: Mapping[str, str] = field(repr=False)


ACCOUNTS = StateFile(
    "accounts.json",
    KeptAccounts,
    place="STATE/demo",
    what="the demo's passwords",
    remedy="Remove it: `meshward up --demo` makes new ones.",
    migrations=(put_under("accounts"),),
)


def demo_directory(state: Path) -> Path:
    """Where the demo keeps its secrets."""
    return state / "demo"


def made_private(directory: Path) -> Path:
    """`directory`, ours and closed to others, unless it was handed to us to read."""
    handed = directory.is_dir() and directory.stat().st_uid != os.geteuid()
    return directory if handed else private_directory(directory)


def load_accounts(state: Path) -> Accounts:
    """The accounts of the demo that runs with `state`. Raises MeshwardError where there are none."""
    kept = ACCOUNTS.read(demo_directory(state))
    if kept is None:
        raise MeshwardError(
            codes.NO_DEMO_ACCOUNTS,
            f"there are no demo accounts in `{demo_directory(state)}`",
            "Start the demo, `meshward up --demo`, which makes them.",
        )
    if kept.accounts.keys() != GROUPS.keys():
        raise ACCOUNTS.damage_error(
            demo_directory(state) / ACCOUNTS.name, "it holds other accounts than the demo's"
        )
    return Accounts({name: Secret(kept.accounts[name]) for name in GROUPS})


def load_or_create_accounts(state: Path) -> Accounts:
    """The accounts, made now if this is the first start."""
    directory = made_private(demo_directory(state))
    if ACCOUNTS.read(directory) is None:
        ACCOUNTS.write(directory, KeptAccounts({name: secrets.token_urlsafe(12) for name in GROUPS}))
    return load_accounts(state)


def token_for(idp_url: str, account: str, state_dir: Path) -> Secret:
    """An access token for a demo person: the whole device flow (RFC 8628), their password typed for them.

    Raises MeshwardError if the account does not exist or the provider does not answer as it should.
    """
    accounts = load_accounts(state_dir)
    if account not in PEOPLE:
        raise MeshwardError(
            codes.DEMO_ACCOUNT_UNKNOWN,
            f"no demo account is called `{account}`",
            f"Use one of {', '.join(PEOPLE)}.",
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
        raise _unexpected_error(idp_url, type(error).__name__) from None
    if found.get("issuer") != idp_url:
        raise _unexpected_error(idp_url, "it names another issuer")
    return found


def _post(http: httpx2.Client, url: str, form: Mapping[str, str]) -> httpx2.Response:
    try:
        answer = http.post(url, data=dict(form))
    except httpx2.HTTPError as error:
        raise _unexpected_error(url, type(error).__name__) from None
    if answer.status_code != 200:
        raise _unexpected_error(url, f"status {answer.status_code}")
    return answer


def _unexpected_error(url: str, what: str) -> MeshwardError:
    return MeshwardError(
        codes.DEMO_PROVIDER_FAILED,
        f"the demo identity provider did not answer at `{url}` as it should: {what}",
    )
