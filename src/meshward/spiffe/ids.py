"""SPIFFE IDs (SPIFFE-ID.md, section 2): parsed strictly, compared exactly, one spelling only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshward.kit import codes
from meshward.kit.errors import MeshwardError

MAX_LENGTH = 2048  # bytes
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_PATH = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._-]+)*", re.ASCII)
_SCHEME = "spiffe://"


class SpiffeIdInvalid(MeshwardError):
    """MW2020: a text that is not a SPIFFE ID."""


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """`spiffe://<trust_domain><path>`. Without a path it names the trust domain, and no workload."""

    trust_domain: str
    path: str = ""

    def __post_init__(self) -> None:
        if (
            not (_TRUST_DOMAIN.fullmatch(self.trust_domain) and _PATH.fullmatch(self.path))
            or len(str(self)) > MAX_LENGTH
        ):
            raise SpiffeIdInvalid(
                codes.NOT_A_SPIFFE_ID,
                f"{str(self)[:80]!r} is not a SPIFFE ID",
            )

    @property
    def is_workload(self) -> bool:
        """Whether a leaf certificate may carry it (X509-SVID, 5.2)."""
        return self.path != ""

    @property
    def is_reserved(self) -> bool:
        """Whether it names a part of meshward itself, which is never a caller: the edge, a model's guard."""
        return self.path == "/edge" or f"{self.path}/".startswith("/model/")

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"


def agent_id(trust_domain: str, name: str) -> SpiffeId:
    """Who the policy's agent `name` is in actor chains, whatever credential it shows."""
    return SpiffeId(trust_domain, f"/agent/{name}")


def parse(text: str) -> SpiffeId:
    """The SPIFFE ID that `text` spells. Raises SpiffeIdInvalid."""
    if not text.startswith(_SCHEME):
        raise SpiffeIdInvalid(
            codes.NOT_A_SPIFFE_ID, f"{text[:80]!r} is not a SPIFFE ID", "It begins with `spiffe://`."
        )
    trust_domain, slash, path = text.removeprefix(_SCHEME).partition("/")
    return SpiffeId(trust_domain, slash + path)
