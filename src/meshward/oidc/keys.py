"""An issuer's keys: fetched ahead of need, kept through an outage, never asked for in a storm."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from meshward.kit import codes
from meshward.kit.bounded import LONGEST_DOCUMENT
from meshward.kit.clock import Clock
from meshward.kit.errors import MeshwardError
from meshward.kit.reasons import Reason
from meshward.kit.strict import json_object
from meshward.oidc.fetch import FetchFailed, fetch
from meshward.oidc.issuer import TrustedIssuer
from meshward.oidc.jwk import VerificationKey, parse_key_set
from meshward.oidc.refusal import KeysUnavailable, TokenRefused

MIN_INTERVAL = 10.0  # seconds between two fetches that requests can cause
EAGER = 1.0
REFRESH = 300.0  # seconds after which a key that the issuer withdrew is noticed
PATIENCE = 1.5  # seconds that a request waits for a fetch: less than the edge waits for a decision

Document = Callable[[TrustedIssuer], Awaitable[bytes]]
Report = Callable[[TrustedIssuer, MeshwardError], None]


class IssuerKeys:
    """The keys of one issuer. `keep_fresh` runs beside the requests that call `find`.

    `monotonic` is in seconds and does not go back, so a changed wall clock neither ages nor renews the keys.
    """

    def __init__(
        self, issuer: TrustedIssuer, document: Document, report: Report, monotonic: Clock = time.monotonic
    ) -> None:
        self.issuer = issuer
        self._document = document
        self._report = report
        self._clock = monotonic
        self._keys: Mapping[str, VerificationKey] = {}
        self._good_at: float | None = None
        self._asked_at: float | None = None  # when a request last caused a fetch
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None

    @property
    def age(self) -> float | None:
        """Seconds since the keys were last had from the issuer; None if they never were."""
        return None if self._good_at is None else self._clock() - self._good_at

    async def find(self, kid: str) -> VerificationKey:
        """See `verify.Keys`. Asks the issuer about a `kid` not seen before, at most once in `MIN_INTERVAL`."""
        key = self._usable_keys().get(kid)
        if key is None:
            await self._look_again(kid)
            key = self._usable_keys().get(kid)
        if key is not None:
            return key
        if (
            not self._usable_keys() or self._running_fetch() is not None
        ):  # it may be among those that are on their way
            raise KeysUnavailable(
                codes.NO_ISSUER_KEYS,
                f"there are no usable keys of the issuer `{self.issuer.name}`",
            )
        raise TokenRefused(
            Reason.KEY_UNKNOWN,
            "The token is signed by a key that its issuer does not publish. Sign in again.",
        )

    async def keep_fresh(self) -> None:
        """Fetch now and then every `REFRESH` seconds; sooner while it fails. Never returns.

        Before there was any key it tries every `EAGER` seconds: an issuer may start when we do.
        """
        while True:
            await self._fetch()
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        if self.age is None:
            return EAGER
        return MIN_INTERVAL if self._failing else REFRESH

    def _usable_keys(self) -> Mapping[str, VerificationKey]:
        age = self.age
        return {} if age is None or age > self.issuer.keys.max_stale else self._keys

    async def _look_again(self, kid: str) -> None:
        """Wait for the fetch that runs, which may have begun too early, and then for one of our own if we may."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                if (running := self._running_fetch()) is not None:
                    await asyncio.shield(running)
                if kid not in self._usable_keys() and self._may_ask():
                    await asyncio.shield(self._fetch())

    def _may_ask(self) -> bool:
        """Whether the last fetch that a request caused is long enough ago; then this one is the last.

        What `keep_fresh` fetches does not count: a key that is new just after it need not wait.
        """
        now = self._clock()
        if self._asked_at is not None and now - self._asked_at < MIN_INTERVAL:
            return False
        self._asked_at = now
        return True

    def _fetch(self) -> asyncio.Task[None]:
        """The fetch that runs, or a new one: all who wait share it."""
        running = self._running_fetch()
        if running is None:
            running = self._fetching = asyncio.create_task(self._replace())
        return running

    def _running_fetch(self) -> asyncio.Task[None] | None:
        return None if self._fetching is None or self._fetching.done() else self._fetching

    async def _replace(self) -> None:
        """A document that cannot be had, or has no usable key, never replaces a good one."""
        self._failing = True
        try:
            self._keys = parse_key_set(await self._document(self.issuer))
            self._good_at = self._clock()
            self._failing = False
        except MeshwardError as error:
            self._report(self.issuer, error)
        except Exception as error:  # whatever it is, the next try comes and the good keys stay
            why = f"the keys of `{self.issuer.name}` cannot be used ({type(error).__name__}: {error})"
            self._report(
                self.issuer, MeshwardError(codes.FETCH_FAILED, why, "Look at what its key address serves.")
            )


class FixedKeys:
    """A `verify.Keys` that never changes: for tests, and for `explain --token` with keys in a file."""

    def __init__(self, issuer: TrustedIssuer, keys: Mapping[str, VerificationKey]) -> None:
        self.issuer = issuer
        self._keys = keys

    async def find(self, kid: str) -> VerificationKey:
        if kid not in self._keys:
            raise TokenRefused(
                Reason.KEY_UNKNOWN, "The token is signed by a key that its issuer does not publish."
            )
        return self._keys[kid]


def key_document(tls: ssl.SSLContext) -> Document:
    """Where keys come from outside of tests: a file, a fixed URL, or discovery."""

    async def document(issuer: TrustedIssuer) -> bytes:
        place = issuer.keys
        if place.file is not None:
            return await asyncio.to_thread(_read_file, Path(place.file))
        return await fetch(place.url or await _discover_jwks(issuer, tls), place.allow, tls)

    return document


async def _discover_jwks(issuer: TrustedIssuer, tls: ssl.SSLContext) -> str:
    """`jwks_uri` of the issuer's metadata, which must be about this issuer (OpenID Discovery, 4.3)."""
    url = issuer.url.removesuffix("/") + "/.well-known/openid-configuration"
    metadata = json_object(await fetch(url, issuer.keys.allow, tls))
    if metadata.get("issuer") != issuer.url:
        raise FetchFailed(
            codes.FETCH_FAILED,
            f"`{url}` speaks for another issuer",
            "Write `issuer` exactly as it stands there.",
        )
    if not isinstance(metadata.get("jwks_uri"), str):
        raise FetchFailed(codes.FETCH_FAILED, f"`{url}` names no `jwks_uri`", "Give `jwks: {url: ...}`.")
    return str(metadata["jwks_uri"])


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(LONGEST_DOCUMENT + 1)
    if len(data) > LONGEST_DOCUMENT:
        raise FetchFailed(codes.FETCH_FAILED, f"`{path}` is over {LONGEST_DOCUMENT} bytes", "Give a JWK Set.")
    return data
