"""Callers inside the mesh: with any certificate and any Transaction Token, straight to a guard's socket."""

from __future__ import annotations

import http.client
import socket
import ssl
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from meshward.runtime.place.instance_file import Guarded
from meshward.spiffe.ca import Authority, LeafCredential, load_or_create
from meshward.spiffe.ids import SpiffeId
from meshward.tokens.key_store import load
from meshward.tokens.keys import SigningKey
from meshward.tokens.txn import Transaction, TransactionTokenMinter
from tests.stack.running import Reply, Stack


@dataclass(frozen=True)
class Inside:
    """The secrets of a running instance, as somebody who stole them would hold them."""

    stack: Stack

    @property
    def authority(self) -> Authority:
        return load_or_create(self.stack.state / "ca", self.stack.instance.trust_domain)

    @property
    def signing_key(self) -> SigningKey:
        return load(self.stack.state / "keys").current

    def svid(self, path: str = "/edge", ttl: timedelta = timedelta(hours=1)) -> LeafCredential:
        domain = self.stack.instance.trust_domain
        return self.authority.issue(SpiffeId(domain, path), None, datetime.now(UTC), ttl)

    def txn(self, permission: str, subject: str = "test:alice", **over: Any) -> str:
        """A Transaction Token as the decision service would mint it.

        `key`, `audience`, `issuer`, `now` may differ; `actors` are agents' names.
        """
        model, _, action = permission.rpartition(".")
        now = over.pop("now", time.time())
        domain = self.stack.instance.trust_domain
        minter = TransactionTokenMinter(
            over.pop("key", self.signing_key),
            issuer=over.pop("issuer", f"https://{self.stack.hostname}"),
            audience=over.pop("audience", domain),
            workload=f"spiffe://{domain}/edge",
        )
        transaction = Transaction(
            subject=subject, permission=permission, model=over.pop("model", model), action=action, grant="g",
            revision=1, roles=["r"], proof={"ath": "a" * 43}, client=None, expires_at=int(now) + 600,
            actors=over.pop("actors", ()),
        )  # fmt: skip
        assert not over, over
        return minter.mint(transaction, now).token.reveal()


def knock(
    guard: Guarded, root: str, method: str, path: str, *, svid: LeafCredential | None, txn: str | None,
    headers: dict[str, str] | None = None, body: bytes = b"",
) -> Reply | None:  # fmt: skip
    """One request to `guard`; None where it refused the connection or the handshake."""
    context = ssl.create_default_context(cafile=root)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if svid is not None:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "svid.pem"
            file.touch(0o600)
            file.write_text(svid.key_and_chain().reveal())
            context.load_cert_chain(file)
    send = {"Host": guard.dns_name, "X-Request-Id": "f" * 32, **(headers or {})}
    if txn is not None:
        send["Txn-Token"] = txn
    connection = http.client.HTTPConnection(guard.dns_name, timeout=60)
    try:
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(60)
        plain.connect(guard.socket)
        connection.sock = context.wrap_socket(plain, server_hostname=guard.dns_name)
        connection.request(method, path, body or None, send)
        response = connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
