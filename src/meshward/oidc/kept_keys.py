"""The keys of issuers on a disk: what an instance or its decision service starts with while an issuer is down.

The supervisor alone writes them, from what it fetched itself: STATE/issuer-keys.json, and for the decision service a
copy in RUN/given/decide, where no hop can write either. Whoever could write one of them could be anybody.

They are one issuer's: of this name, this `iss` and this place of its keys. They age from when they were asked for:
within one boot by a clock that nobody sets; after another by the wall's, and what is of the future is not used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from meshward.kit.boot import Moment
from meshward.kit.canonical import digest
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile
from meshward.oidc.issuer import TrustedIssuer
from meshward.oidc.jwk import VerificationKey, parse_key_set

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeptSet:
    """One issuer's public keys, as JWKs; `place`: where the policy says that they are."""

    issuer: str
    place: str
    asked_at: Moment
    keys: tuple[Mapping[str, str], ...]

    @classmethod
    def of(cls, issuer: TrustedIssuer, keys: Mapping[str, VerificationKey], asked_at: Moment) -> KeptSet:
        return cls(issuer.url, _place(issuer), asked_at, tuple(key.public_jwk() for key in keys.values()))

    def keys_of(self, issuer: TrustedIssuer) -> dict[str, VerificationKey]:
        """None of another issuer, or from another place. Raises ValueError for what is no set of keys."""
        if (self.issuer, self.place) != (issuer.url, _place(issuer)):
            return {}
        return parse_key_set(json.dumps({"keys": [dict(key) for key in self.keys]}).encode())


def _digest(issuers: Mapping[str, KeptSet]) -> str:
    kind = TypeAdapter(Mapping[str, KeptSet])
    return digest(kind.dump_python(issuers, mode="json"))


@dataclass(frozen=True, slots=True)
class KeptKeys:
    """By the issuer's name in the policy. `digest` is of all the rest: a bit that a disk turned is seen."""

    issuers: Mapping[str, KeptSet]
    digest: str

    def __post_init__(self) -> None:
        if self.digest != _digest(self.issuers):
            raise ValueError("it is not what was written")

    @classmethod
    def of(cls, issuers: Mapping[str, KeptSet]) -> KeptKeys:
        return cls(issuers, _digest(issuers))


NONE_KEPT = KeptKeys.of({})
KEPT = StateFile(
    "issuer-keys.json",
    KeptKeys,
    place="STATE",
    what="each issuer's public keys and when they were had, for a start while an issuer is down",
    remedy="Remove it: the keys are fetched again.",
    renewed=True,
    private=True,
    limit=8_000_000,
)
HANDED = replace(
    KEPT,
    place="RUN/given/decide",
    what="a copy of `STATE/issuer-keys.json`, for the decision service's start",
    remedy="Start the instance again, `meshward up`: it is written anew.",
    private=False,
)


def read_kept(file: StateFile[KeptKeys], directory: Path) -> KeptKeys:
    """What cannot be used is said, and not used: the issuers themselves are asked anyway."""
    try:
        return file.read(directory) or NONE_KEPT
    except MeshwardError as error:
        log.error("kept_keys_not_taken", code=error.code.number, why=error.message, remedy=error.remedy)
        return NONE_KEPT


def _place(issuer: TrustedIssuer) -> str:
    keys = issuer.keys
    return f"file {keys.file}" if keys.file is not None else f"url {keys.url or ''}"
