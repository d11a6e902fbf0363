"""The issuers that are trusted now, their keys, and the tasks that keep those fresh."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from functools import cache

import structlog

from meshward.kit.errors import MeshwardError
from meshward.oidc.issuer import TrustedIssuer
from meshward.oidc.keys import IssuerKeys, key_document
from meshward.oidc.verify import Verifier

log = structlog.get_logger("meshward.edge")


class Trust:
    """A verifier with its issuers' keys."""

    def __init__(self, keys: Iterable[IssuerKeys]) -> None:
        self._keys = {source.issuer.name: source for source in keys}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.verifier = Verifier(self._keys.values())
        self.expected = ", ".join(sorted(keys.issuer.url for keys in self._keys.values()))

    def ages(self) -> dict[str, int | None]:
        """Seconds since each issuer's keys were last had; None if never."""
        return {name: None if keys.age is None else int(keys.age) for name, keys in self._keys.items()}

    def succeeded_by(self, issuers: Iterable[TrustedIssuer]) -> Trust:
        """The trust in `issuers` in place of this one; issuers that did not change keep their keys.

        Starts what keeps keys fresh, so it needs a running event loop.
        """
        successor = Trust(self._known_keys(issuer) or source_of(issuer) for issuer in issuers)
        for name, keys in successor._keys.items():
            kept = self._tasks.pop(name) if self._keys.get(name) is keys else None
            successor._tasks[name] = kept or asyncio.create_task(keys.keep_fresh())
        for task in self._tasks.values():
            task.cancel()
        return successor

    def _known_keys(self, issuer: TrustedIssuer) -> IssuerKeys | None:
        keys = self._keys.get(issuer.name)
        return keys if keys is not None and keys.issuer == issuer else None


def source_of(issuer: TrustedIssuer) -> IssuerKeys:
    return IssuerKeys(issuer, key_document(_system_trust()), report)


def report(issuer: TrustedIssuer, error: MeshwardError) -> None:
    log.warning("issuer's keys", issuer=issuer.name, code=error.code.number, message=error.message)


@cache
def _system_trust() -> ssl.SSLContext:
    """The machine's own certificate authorities."""
    return ssl.create_default_context()
