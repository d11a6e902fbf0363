"""An issuer that is trusted, as the verifier and the key source need it."""

from __future__ import annotations

from dataclasses import dataclass

from meshward.oidc.profiles import Profile


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where an issuer's keys are: a file, a URL, or (neither) what its discovery document says."""

    url: str | None = None
    file: str | None = None
    max_stale: int = 86400  # seconds for which the last good keys serve while no new ones can be had
    allow: frozenset[str] = frozenset()  # of "http" (to loopback), "private" (addresses)


@dataclass(frozen=True)
class TrustedIssuer:
    """`url` is the exact `iss`; `name` what the policy calls it; `groups` replaces the profile's pointer.

    Where the profile's rule reads `audiences` or `clients` and they are empty, nothing is accepted.
    """

    name: str
    url: str
    profile: Profile
    audiences: frozenset[str]
    clients: frozenset[str]
    keys: KeyPlace
    groups: str | None = None
