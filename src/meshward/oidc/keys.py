"""An issuer's keys: fetched ahead of need, kept through an outage, never asked for in a storm.

A `kid` that is not known is asked for, whatever strangers ask for besides:

* One fetch answers for everybody. Requests may cause `ASK_AT_ONCE` of them, and one more every `ASK_EVERY` seconds; so
  under any flood of made-up names a new key is taken `ASK_EVERY` seconds (and one fetch) after it was published.
* What was asked for and is not there is remembered for `ASK_EVERY` seconds, so one bad token uses up nothing of that.
* "Not published" is said only where a document says so that was asked for after the request came, or where that was
  remembered. While nobody may ask, or the issuer does not answer, it is not known, and nobody is called wrong.

A key that the issuer takes out of its document is accepted for `REFRESH` seconds at the most while the issuer can be
reached, and for `max_stale` while it cannot. Its `Cache-Control` changes nothing of this. What was kept on a disk
(`kept_keys`) is older than that only where the issuer was asked first, and in vain.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from meshward.kit import codes
from meshward.kit.bounded import LONGEST_DOCUMENT
from meshward.kit.clock import Clock, boot_clock
from meshward.kit.errors import MeshwardError
from meshward.kit.reasons import Reason
from meshward.kit.strict import json_object
from meshward.oidc.fetch import FetchFailed, fetch
from meshward.oidc.issuer import TrustedIssuer
from meshward.oidc.jwk import VerificationKey, parse_key_set
from meshward.oidc.refusal import KeysUnavailable, TokenRefused

MIN_INTERVAL = 10.0  # seconds between two tries of an issuer that does not answer well
ASK_EVERY = (
    5.0  # seconds: in them requests may cause one more fetch; for them a `kid` that is not there stays so
)
ASK_AT_ONCE = 3  # fetches that requests may cause one right after the other
EAGER = 1.0
REFRESH = 300.0  # seconds after which a key that the issuer withdrew is noticed
LATE = 2 * REFRESH  # seconds after which keys serve only where the issuer was asked in vain
PATIENCE = 1.5  # seconds that a request waits for a fetch: less than the edge waits for a decision
MOST_WAITING = 512  # requests that wait for one
REMEMBERED = 1024  # names of keys that are not there

Document = Callable[[TrustedIssuer], Awaitable[bytes]]
Report = Callable[[TrustedIssuer, MeshwardError], None]


class IssuerKeys:
    """The keys of one issuer. `keep_fresh` runs beside the requests that call `find`.

    `monotonic` is in seconds and does not go back, so a changed wall clock neither ages nor renews the keys.
    """

    def __init__(
        self,
        issuer: TrustedIssuer,
        document: Document,
        report: Report,
        monotonic: Clock = boot_clock,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.issuer = issuer
        self._most_waiting = most_waiting
        self._document = document
        self._report = report
        self._clock = monotonic
        self._keys: Mapping[str, VerificationKey] = {}
        self._good_at: float | None = None  # when the document in use was asked for
        self._begun = self._ended = self._good = 0  # fetches, by number; `_good`: of the document in use
        self._tried_at = 0.0  # when the last fetch ended
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None
        self._waiting = 0
        self._allowance_at = float("-inf")  # from when on requests may again cause `ASK_AT_ONCE` fetches
        self._absent: dict[str, float] = {}  # by `kid`, when it was asked for in vain; the oldest first

    @property
    def age(self) -> float | None:
        """Seconds since the keys were last had from the issuer; None if they never were."""
        return None if self._good_at is None else self._clock() - self._good_at

    @property
    def known(self) -> Mapping[str, VerificationKey]:
        """Those of the issuer's last good document."""
        return self._keys

    @property
    def fetched(self) -> int:
        """Which fetch that document was; 0: none yet."""
        return self._good

    def resume(self, keys: Mapping[str, VerificationKey], age: float) -> None:
        """Begin with keys that were had `age` seconds ago."""
        self._keys, self._good_at = keys, self._clock() - age

    async def find(self, kid: str) -> VerificationKey:
        """See `verify.Keys`. Asks the issuer about a `kid` not seen before, where it may be asked."""
        if kid not in self._usable_keys() and not self._was_absent(kid):
            await self._look_again(kid)
        keys = self._usable_keys()
        if kid in keys:
            return keys[kid]
        if keys and self._was_absent(kid):
            raise TokenRefused(
                Reason.KEY_UNKNOWN,
                "The token is signed by a key that its issuer does not publish. Sign in again.",
            )
        raise KeysUnavailable(
            codes.NO_ISSUER_KEYS,
            f"whether `{self.issuer.name}` publishes the key cannot be known just now"
            if keys
            else f"there are no usable keys of the issuer `{self.issuer.name}`",
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
        if age is None or age > self.issuer.keys.max_stale or (age > LATE and not self._failing):
            return {}
        return self._keys

    async def _look_again(self, kid: str) -> None:
        """Wait for a document that was asked for after now, if there may be one, and note that `kid` is not there."""
        if self._waiting >= self._most_waiting:
            return
        begun = self._begun
        self._waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._fetch_after(begun, kid)
        finally:
            self._waiting -= 1
        if self._good > begun and kid not in self._keys:
            self._note_absent(kid)

    async def _fetch_after(self, begun: int, kid: str) -> None:
        """The fetch that runs may have begun too early; then one that began after that, of our own if we may."""
        if (running := self._running_fetch()) is not None:
            await asyncio.shield(running)
        if kid in self._usable_keys() or self._ended > begun:
            return
        if self._running_fetch() is not None or self._may_ask():
            await asyncio.shield(self._fetch())

    def _may_ask(self) -> bool:
        """Whether a request may cause a fetch; then it is counted.

        What `keep_fresh` fetches does not count: a key that is new just after it need not wait. An issuer that did
        not answer just now is not asked for each `kid`.
        """
        now = self._clock()
        if self._failing and now - self._tried_at < ASK_EVERY:
            return False
        full_at = max(self._allowance_at, now)
        if full_at - now > (ASK_AT_ONCE - 1) * ASK_EVERY:
            return False
        self._allowance_at = full_at + ASK_EVERY
        return True

    def _was_absent(self, kid: str) -> bool:
        asked = self._absent.get(kid)
        return asked is not None and self._clock() - asked < ASK_EVERY

    def _note_absent(self, kid: str) -> None:
        self._absent.pop(kid, None)
        self._absent[kid] = self._good_at or 0.0
        if len(self._absent) > REMEMBERED:
            del self._absent[next(iter(self._absent))]

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
        self._begun += 1
        number, asked_at = self._begun, self._clock()
        try:
            self._keys = parse_key_set(await self._document(self.issuer))
            self._good, self._good_at, self._failing = number, asked_at, False
        except MeshwardError as error:
            self._fail(error)
        except Exception as error:  # whatever it is, the next try comes and the good keys stay
            why = f"the keys of `{self.issuer.name}` cannot be used ({type(error).__name__}: {error})"
            self._fail(MeshwardError(codes.FETCH_FAILED, why, "Look at what its key address serves."))
        finally:
            self._ended, self._tried_at = number, self._clock()

    def _fail(self, error: MeshwardError) -> None:
        self._failing = True
        self._report(self.issuer, error)


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
