"""Our certificate authority: a root for ten years that everybody trusts, and an intermediate that issues.

What is kept, and how it is replaced without a moment at which nothing can be issued, is told in `spiffe.ca_store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from meshward.spiffe.ca_store import RENEW, CaStore, Kept
from meshward.spiffe.certificates import (
    BACKDATE,
    CLIENT,
    ISSUING_TTL,
    ROOT_TTL,
    SERVER,
    LeafCredential,
    Signer,
    make_issuing,
    make_leaf,
    make_root,
    pem_of,
    web_names,
)
from meshward.spiffe.ids import SpiffeId

__all__ = [
    "BACKDATE", "ISSUING_TTL", "RENEW", "ROOT_TTL", "SVID_TTL", "WEB_TTL", "WORKLOAD_MOST",
    "Authority", "LeafCredential", "Signer", "load", "load_or_create", "make_issuing", "make_root",
]  # fmt: skip
SVID_TTL = timedelta(hours=1)
WEB_TTL = timedelta(days=7)
WORKLOAD_MOST = timedelta(hours=24)  # no workload's SVID lives longer


@dataclass(frozen=True, slots=True)
class Authority:
    """Issues leaves of one trust domain, below `root`.

    While one root takes another's place `also` is trusted as well, and `web` issues the edge's server certificate.
    `earlier` are intermediates that issue no more, but whose leaves may live.
    """

    trust_domain: str
    root: x509.Certificate
    issuing: Signer
    web: Signer | None = None
    also: Sequence[x509.Certificate] = ()
    earlier: Sequence[x509.Certificate] = ()

    @property
    def root_pem(self) -> str:
        """The trust bundle: one root, two while one takes the other's place."""
        return "".join(map(pem_of, (self.root, *self.also)))

    @property
    def authorities_pem(self) -> str:
        """The trust bundle, and then every intermediate that may have issued a leaf that lives. For verifiers that are
        given a leaf without its chain."""
        issuing = [signer.certificate for signer in (self.issuing, self.web) if signer is not None]
        return "".join(map(pem_of, dict.fromkeys([self.root, *self.also, *issuing, *self.earlier])))

    def issue(
        self, spiffe_id: SpiffeId, dns_name: str | None, now: datetime, ttl: timedelta = SVID_TTL
    ) -> LeafCredential:
        """An X.509-SVID: exactly one URI, at most one DNS name (for proxies that cannot check a URI)."""
        if not spiffe_id.is_workload or spiffe_id.trust_domain != self.trust_domain:
            raise ValueError(f"{spiffe_id} names no workload of {self.trust_domain}")
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id))]
        if dns_name is not None:
            names.append(x509.DNSName(dns_name))
        return make_leaf(self.issuing, names, [SERVER, CLIENT], now, ttl)

    def issue_web(self, hostname: str, now: datetime, ttl: timedelta = WEB_TTL) -> LeafCredential:
        """The edge's server certificate. It has no URI, so it is no identity inside the mesh."""
        return make_leaf(self.web or self.issuing, web_names(hostname), [SERVER], now, ttl)


def load_or_create(directory: Path, trust_domain: str, now: datetime | None = None) -> Authority:
    """The authority kept in `directory`; what is missing or near its end is made.

    Raises MeshwardError (MW2021) if it is damaged or is another trust domain's.
    """
    return _authority(trust_domain, CaStore(directory, trust_domain).open(now))


def load_current(directory: Path, trust_domain: str) -> Authority:
    """`load_or_create` of an instance that runs: its root is never made anew. Raises MeshwardError (MW2021)."""
    return _authority(trust_domain, CaStore(directory, trust_domain).current())


def load(directory: Path, trust_domain: str) -> Authority:
    """The authority kept in `directory`; nothing is made. Raises MeshwardError (MW2021) if it cannot issue."""
    return _authority(trust_domain, CaStore(directory, trust_domain).load())


def _authority(trust_domain: str, kept: Kept) -> Authority:
    """What is kept, as what issues."""
    old, new = kept.standing, kept.successor
    if new is None:
        return Authority(trust_domain, old.root.certificate, old.issuing, earlier=kept.earlier)
    first, other = (new, old) if kept.uses_successor else (old, new)
    both = (other.issuing.certificate, *kept.earlier)
    web = old.issuing if kept.uses_successor else None
    return Authority(
        trust_domain, first.root.certificate, first.issuing, web, (other.root.certificate,), both
    )
