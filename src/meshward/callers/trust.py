"""The issuers that are trusted now, their keys, and the tasks that keep those fresh."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from functools import cache

import structlog

from meshward.kit.boot import Moment
from meshward.kit.errors import MeshwardError
from meshward.oidc.issuer import TrustedIssuer
from meshward.oidc.kept_keys import NONE_KEPT, KeptKeys, KeptSet
from meshward.oidc.keys import MOST_WAITING, IssuerKeys, key_document
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

    @property
    def fetched(self) -> tuple[tuple[IssuerKeys, int], ...]:
        """Another value where there is another document of an issuer, or another issuer."""
        return tuple((keys, keys.fetched) for keys in self._keys.values() if keys.age is not None)

    def kept(self, now: Moment) -> KeptKeys:
        """What there is to keep on a disk: the keys that were had, and are not too old."""
        return KeptKeys.of(
            {
                name: KeptSet.of(keys.issuer, keys.known, now.before(keys.age))
                for name, keys in self._keys.items()
                if keys.age is not None and keys.age <= keys.issuer.keys.max_stale
            }
        )

    def succeeded_by(
        self, issuers: Iterable[TrustedIssuer], kept: KeptKeys = NONE_KEPT, most_waiting: int = MOST_WAITING
    ) -> Trust:
        """The trust in `issuers` in place of this one; issuers that did not change keep their keys.

        Others begin with those that were `kept` of them. Starts what keeps keys fresh, so it needs a running loop.
        """
        successor = Trust(
            self._known_keys(issuer) or source_of(issuer, kept, most_waiting) for issuer in issuers
        )
        for name, keys in successor._keys.items():
            task = self._tasks.pop(name) if self._keys.get(name) is keys else None
            successor._tasks[name] = task or asyncio.create_task(keys.keep_fresh())
        for task in self._tasks.values():
            task.cancel()
        return successor

    def _known_keys(self, issuer: TrustedIssuer) -> IssuerKeys | None:
        keys = self._keys.get(issuer.name)
        return keys if keys is not None and keys.issuer == issuer else None


def source_of(
    issuer: TrustedIssuer, kept: KeptKeys = NONE_KEPT, most_waiting: int = MOST_WAITING
) -> IssuerKeys:
    """Where its keys come from; at the beginning, from what was kept of exactly this issuer and is not too old."""
    source = IssuerKeys(issuer, key_document(_system_trust()), report, most_waiting=most_waiting)
    if (found := kept.issuers.get(issuer.name)) is not None:
        try:
            _resume(source, found, Moment.now())
        except ValueError as error:
            log.error("kept keys not taken", issuer=issuer.name, why=str(error))
    return source


def _resume(source: IssuerKeys, kept: KeptSet, now: Moment) -> None:
    """Raises ValueError."""
    keys, age = kept.keys_of(source.issuer), kept.asked_at.seconds_until(now)
    if not keys:
        log.info("kept keys are another issuer's", issuer=source.issuer.name)
    elif age is None:
        raise ValueError("they are of the future: the clock was set back")
    elif age <= source.issuer.keys.max_stale:
        source.resume(keys, age)


def report(issuer: TrustedIssuer, error: MeshwardError) -> None:
    log.warning("issuer's keys", issuer=issuer.name, code=error.code.number, message=error.message)


@cache
def _system_trust() -> ssl.SSLContext:
    """The machine's own certificate authorities."""
    return ssl.create_default_context()
