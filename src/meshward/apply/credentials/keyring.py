"""The keys that guards send to their servers, in memory: had before they are needed, each by where it is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from meshward.apply.credentials.ages import CredentialAge, save_ages
from meshward.apply.credentials.secrets import FileStamp, FoundSecret, read_secret, stamp_of, take_given
from meshward.kit.secret import Secret
from meshward.plan.ir import Credential, Plan
from meshward.policy.servers import GENERATED
from meshward.targets.envoy.resources import SentKey

COMMAND_EVERY = 900.0  # seconds
RETRY = 60.0


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key in memory. `looked` is when its source was last asked, `stamp` what was seen of its file then."""

    secret: Secret
    since: float
    looked: float
    stamp: FileStamp
    problem: str = ""


class Keyring:
    """Every key that some guard may be given: two revisions may keep the one of a version in different places."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._held: dict[Credential, tuple[str, HeldKey]] = {}
        self._blind = secrets.token_bytes(32)  # editions tell nothing to whoever tries keys

    def sent_key(self, plan: Plan, key: str) -> SentKey | None:
        """What the guard of `key` (`<model>/<version>`) sends under `plan`. Raises MeshwardError (MW3060)."""
        kept = plan.secret_of(*key.split("/"))
        if kept is None:
            return None
        secret = self.hold(sent_key_name(plan, key), kept).secret
        edition = hmac.new(self._blind, secret.reveal().encode(), hashlib.sha256).hexdigest()
        return SentKey(secret, edition)

    def hold(self, name: str, kept: Credential) -> HeldKey:
        """Read now, if it was not yet. Raises MeshwardError (MW3060)."""
        if kept not in self._held:
            self.keep(name, kept, _hold_key(read_secret(name, kept, self._state)))
        return self._held[kept][1]

    def read(self, name: str, kept: Credential, value: Secret | None = None) -> HeldKey:
        """Its source asked anew, or `value`; nothing is kept yet. Raises MeshwardError (MW3060)."""
        found = (
            take_given(name, value) if value is not None else read_secret(name, kept, self._state, make=False)
        )
        now = _hold_key(found)
        _, before = self._held.get(kept, ("", now))
        return replace(now, since=before.since) if before.secret == now.secret else now

    def keep(self, name: str, kept: Credential, held: HeldKey) -> None:
        """From now on guards are given this."""
        self._held[kept] = (name, held)
        self.save()

    def note_failure(self, kept: Credential, problem: str) -> None:
        """The one there is stays; the source is asked again when it changes, and after a while."""
        name, held = self._held[kept]
        stamp = stamp_of(kept, self._state)
        self.keep(name, kept, replace(held, looked=time.time(), stamp=stamp, problem=problem))

    def all_but(self, wanted: Iterable[Credential]) -> set[Credential]:
        """What is held and not `wanted`."""
        return self._held.keys() - set(wanted)

    def forget_all_but(self, wanted: Iterable[Credential]) -> None:
        """What no guard sends any more need not be in memory."""
        if unwanted := self.all_but(wanted):
            for kept in unwanted:
                del self._held[kept]
            self.save()

    def is_due(self, kept: Credential) -> bool:
        """Whether the source may have something else by now. What was never asked for is not."""
        if kept not in self._held:
            return False
        _, held = self._held[kept]
        following = _next(kept, held)
        in_time = following is not None and time.time() >= following
        return in_time or stamp_of(kept, self._state) != held.stamp

    def save(self) -> None:
        with suppress(OSError):  # for people to read; a full disk must not stop a key
            save_ages(self._state, self._ages())

    def _ages(self) -> Iterator[CredentialAge]:
        for kept, (name, held) in sorted(self._held.items(), key=lambda each: each[1][0]):
            yield CredentialAge(name, kept.source, held.since, _next(kept, held), held.problem)


def sent_key_name(plan: Plan, key: str) -> str:
    """What people call the key that the guard of `key` sends."""
    name = plan.version(*key.split("/")).credential
    return key if name == GENERATED else str(name)


def _hold_key(found: FoundSecret) -> HeldKey:
    return HeldKey(found.secret, found.since, time.time(), found.stamp)


def _next(kept: Credential, held: HeldKey) -> float | None:
    """When its source is asked again although nothing is seen to have changed."""
    if held.problem:
        return held.looked + RETRY
    return held.looked + COMMAND_EVERY if kept.source == "command" else None
