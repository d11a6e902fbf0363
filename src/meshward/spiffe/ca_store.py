"""What the authority keeps, and how each key of it is replaced: new files first, then one rename that names them.

    ca.json                         which of the files below stand; without it, in 0.1.0, `root` and `issuing`
    root[.N].pem, .key.pem          trusted by edge, guards and clients; its key signs intermediates only
    issuing[.N].pem, .key.pem       leaves are sent together with it; of earlier ones only the certificate is kept
    workloads.json                  until when workloads' SVIDs live, by the root that they are below

Keys are 0600 in a 0700 directory. A crash leaves files that nothing names; the next change writes over them.

A root is replaced in three steps, so that nobody ever meets a certificate whose root they do not have yet:

1  `announce`: the new root and its intermediate are made; both roots are trusted, the old one issues
2  `use`: the new one issues, except the edge's server certificate: clients need time to fetch the new bundle
3  `finish`: the old root is dropped
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import StringConstraints

from meshward.kit import codes
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.lock import hold_lock
from meshward.kit.statefile import StateFile, put_under, read_plain
from meshward.spiffe.certificates import (
    LeafCredential,
    Signer,
    domain_of,
    is_below,
    key_pem,
    make_issuing,
    make_root,
    pem_of,
)

POINTER = "ca.json"
WORKLOADS = "workloads.json"
RENEW = timedelta(days=30)  # an intermediate with less left is replaced at a start
EARLIER_FOR = timedelta(hours=25)  # a workload's SVID lives 24 hours at most

_OURS = re.compile(r"(root|issuing)(?P<number>\.[0-9]+)?(?P<key>\.key)?\.pem", re.ASCII)


Name = Annotated[str, StringConstraints(pattern=r"^(root|issuing)(\.[0-9]{1,9})?$")]


@dataclass(frozen=True, slots=True)
class Pair:
    root: Signer
    issuing: Signer


@dataclass(frozen=True, slots=True)
class Overlap:
    """Names of the successor's files. `used`: when it began to issue; `until`: when the old root may go. 0 before."""

    root: Name
    issuing: Name
    seconds: int
    used: float = 0
    until: float = 0


@dataclass(frozen=True, slots=True)
class Names:
    """ca.json. `earlier`: intermediates, with the time at which each issued its last."""

    root: Name = "root"
    issuing: Name = "issuing"
    number: int = 1
    overlap: Overlap | None = None
    earlier: tuple[tuple[Name, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Ends:
    """Seconds since the epoch, by the SHA-256 of a root."""

    ends: Mapping[str, int] = field(default_factory=dict)


NAMES = StateFile(
    POINTER,
    Names,
    place="STATE/ca",
    what="which certificates and keys of the authority stand",
    remedy=codes.AUTHORITY_DAMAGED.remedy,
    code=codes.AUTHORITY_DAMAGED,
)
ENDS = StateFile(
    WORKLOADS,
    Ends,
    place="STATE/ca",
    what="until when workloads' SVIDs live, by the root that they are below",
    remedy="Restore it, or remove it when no workload has an SVID from before (they live 24 hours at most).",
    code=codes.AUTHORITY_DAMAGED,
    migrations=(put_under("ends"),),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """The pair that stands, and while a root is replaced the one that takes its place."""

    standing: Pair
    successor: Pair | None
    uses_successor: bool
    earlier: tuple[x509.Certificate, ...]


class CaStore:
    """The directory of one trust domain's authority. To be changed by one process at a time."""

    def __init__(self, directory: Path, trust_domain: str) -> None:
        self._directory = directory
        self._trust_domain = trust_domain

    def open(self, now: datetime | None = None) -> Kept:
        """At a start: where nothing is kept yet it is made, then as `current`. Raises MeshwardError (MW2021)."""
        now = now or datetime.now(UTC)
        private_directory(self._directory)
        if NAMES.read(self._directory) is None:
            self._begin(now)
        return self.current(now)

    def current(self, now: datetime | None = None) -> Kept:
        """What is kept, with another intermediate where the one that issues is gone or near its end.

        A root is never made here: one that is gone is damage, and whoever trusts it would trust nothing of ours.
        Raises MeshwardError (MW2021).
        """
        now = now or datetime.now(UTC)
        names = self.names()
        root, issuing = map(self._signer, _issuer(names))
        self._demand_domain(root)
        if root and (issuing is None or not _is_good(issuing, root, now)):
            self._reissue(names, now)
        return self.load()

    def _begin(self, now: datetime) -> None:
        """The first root and intermediate, and the file that names them (0.1.0 wrote it at a rotation only).

        Files without a number are the first ones, and go at a rotation: alone here, they stand. Damage is whatever
        a crash on this way cannot have left: numbered files, and an intermediate without its root.
        """
        found = [match for match in map(_OURS.fullmatch, os.listdir(self._directory)) if match]  # noqa: PTH208
        if any(match["number"] for match in found):
            raise self._damage_error(f"{POINTER}, which names what stands here, is gone")
        if not self._file("root").exists():
            if any(match[1] == "issuing" for match in found):
                raise self._damage_error("root.pem is gone")
            self._store("root", make_root(self._trust_domain, now))
        root = self._signer("root")
        if root is not None and not self._file("issuing").exists():
            self._store("issuing", make_issuing(self._trust_domain, root, now))
        NAMES.write(self._directory, Names())

    def load(self) -> Kept:
        """What is kept; nothing is made. Raises MeshwardError (MW2021) if it cannot issue."""
        names = self.names()
        try:
            return self._load(names)
        except MeshwardError:
            if (again := self.names()) == names:
                raise
        return self._load(again)  # they were replaced while they were read

    def _load(self, names: Names) -> Kept:
        standing, successor = self._pair(names.root, names.issuing), None
        if names.overlap is not None:
            successor = self._pair(names.overlap.root, names.overlap.issuing)
        files = [name for name, _ in names.earlier if self._file(name).exists()]
        earlier = tuple(map(self._certificate, files))
        return Kept(standing, successor, bool(names.overlap and names.overlap.used), earlier)

    def names(self) -> Names:
        """Raises MeshwardError (MW2021)."""
        return NAMES.read(self._directory) or Names()

    def reissue(self, now: datetime) -> None:
        """Another intermediate below the root that issues now."""
        self._reissue(self.names(), now)

    def announce(self, now: datetime, overlap: timedelta) -> None:
        """Step 1; nothing where it is done already."""
        names = self.names()
        if names.overlap is not None:
            return
        number = names.number + 1
        root = self._store(f"root.{number}", make_root(self._trust_domain, now))
        self._store(f"issuing.{number}", make_issuing(self._trust_domain, root, now))
        begun = Overlap(f"root.{number}", f"issuing.{number}", int(overlap.total_seconds()))
        self._save(replace(names, number=number, overlap=begun))

    def use(self, now: datetime) -> None:
        """Step 2; nothing where it is done already."""
        names = self.names()
        if names.overlap is not None and not names.overlap.used:
            at = now.timestamp()
            used = replace(names.overlap, used=at, until=at + names.overlap.seconds)
            self._save(replace(names, overlap=used))

    def finish(self) -> None:
        """Step 3; nothing where the new root does not issue."""
        names = self.names()
        if names.overlap is not None and names.overlap.used:
            below = tuple(each for each in names.earlier if self._is_of(each[0], names.overlap.root))
            self._save(Names(names.overlap.root, names.overlap.issuing, names.number, None, below))

    def note_workload(self, root: x509.Certificate, credential: LeafCredential) -> None:
        """Remember until when a workload's SVID below `root` lives. Raises OSError."""
        with hold_lock(self._directory / f".{WORKLOADS}.lock"):
            ends = self._workloads()
            name, end = _fingerprint(root), int(credential.not_after.timestamp())
            ENDS.write(self._directory, Ends({**ends, name: max(end, ends.get(name, 0))}))

    def workloads_end(self, root: x509.Certificate) -> float:
        """When the last workload's SVID below `root` ends; 0: none was issued."""
        return self._workloads().get(_fingerprint(root), 0)

    def old_root_may_go(self) -> float:
        """When nobody should need the old root any more: the overlap is over, and no workload's SVID is below it."""
        overlap = self.names().overlap
        if overlap is None or not overlap.used:
            return float("inf")
        return max(overlap.until, self.workloads_end(self.load().standing.root.certificate))

    def _workloads(self) -> Mapping[str, int]:
        return (ENDS.read(self._directory) or Ends()).ends

    def _reissue(self, names: Names, now: datetime) -> None:
        number, overlap = names.number + 1, names.overlap
        new = f"issuing.{number}"
        root, last = _issuer(names)
        if overlap is not None and overlap.used:
            following = replace(names, number=number, overlap=replace(overlap, issuing=new))
        else:
            following = replace(names, number=number, issuing=new)
        by = self._signer(root)
        if by is None:
            raise self._damage_error(f"{root}.pem is missing")
        self._store(new, make_issuing(self._trust_domain, by, now))
        oldest = (now - EARLIER_FOR).timestamp()
        kept = tuple(each for each in names.earlier if each[1] > oldest)
        self._save(replace(following, earlier=((last, now.timestamp()), *kept)))

    def _save(self, names: Names) -> None:
        """The moment at which `names` stand; then what nobody names any more goes, earlier keys first of all."""
        NAMES.write(self._directory, names)
        signing = {names.root, names.issuing}
        if names.overlap is not None:
            signing |= {names.overlap.root, names.overlap.issuing}
        shown = signing | {name for name, _ in names.earlier}
        for file in os.listdir(self._directory):  # noqa: PTH208  names, not paths
            if (match := _OURS.fullmatch(file)) and file.split(".key")[0].removesuffix(".pem") not in (
                signing if match["key"] else shown
            ):
                (self._directory / file).unlink(missing_ok=True)

    def _pair(self, root_name: str, issuing_name: str) -> Pair:
        root, issuing = self._signer(root_name), self._signer(issuing_name)
        if root is None or issuing is None:
            begun = (self._directory / POINTER).exists()
            gone = f"{root_name}.pem or {issuing_name}.pem is gone"
            raise self._damage_error(gone if begun else "there is none yet: `meshward up` makes it")
        self._demand_domain(root)
        if not is_below(issuing.certificate, root.certificate):
            raise self._damage_error(f"{issuing_name}.pem is not below {root_name}.pem")
        return Pair(root, issuing)

    def _demand_domain(self, root: Signer | None) -> None:
        if root is not None and (domain := domain_of(root.certificate)) != self._trust_domain:
            raise self._damage_error(f"it is the authority of another trust domain, {domain}")

    def _is_of(self, name: str, root: str) -> bool:
        file = self._file(name)
        return file.exists() and is_below(self._certificate(name), self._certificate(root))

    def _store(self, name: str, signer: Signer) -> Signer:
        """Key first: a certificate is never there without its key."""
        write_atomic(self._path(f"{name}.key.pem"), key_pem(signer.key))
        write_atomic(self._file(name), pem_of(signer.certificate))
        return signer

    def _signer(self, name: str) -> Signer | None:
        """None if there is none. Raises MeshwardError if key and certificate do not belong together."""
        try:
            return _load(self._directory, name)
        except (OSError, ValueError, TypeError) as error:
            raise self._damage_error(type(error).__name__) from None

    def _certificate(self, name: str) -> x509.Certificate:
        """Raises MeshwardError where it cannot be read."""
        try:
            return _certificate(self._file(name))
        except (OSError, ValueError, TypeError) as error:
            raise self._damage_error(f"{name}.pem: {type(error).__name__}") from None

    def _file(self, name: str) -> Path:
        return self._path(f"{name}.pem")

    def _path(self, name: str) -> Path:
        return self._directory / name

    def _damage_error(self, why: str) -> MeshwardError:
        return MeshwardError(
            codes.AUTHORITY_DAMAGED,
            f"the certificate authority in `{self._directory}` cannot be used ({why})",
        )


def _issuer(names: Names) -> tuple[str, str]:
    """Root and intermediate that issue now."""
    if names.overlap is not None and names.overlap.used:
        return names.overlap.root, names.overlap.issuing
    return names.root, names.issuing


def _load(directory: Path, name: str) -> Signer | None:
    """None if there is none; ValueError if key and certificate do not belong together."""
    file = directory / f"{name}.pem"
    if not file.exists():
        return None
    key = serialization.load_pem_private_key(read_plain(directory / f"{name}.key.pem"), password=None)
    certificate = _certificate(file)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError(f"{name}: key and certificate differ")
    return Signer(certificate, key)


def _certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(read_plain(file))


def _is_good(issuing: Signer, root: Signer, now: datetime) -> bool:
    """Whether the intermediate is this root's and has life left to issue from."""
    certificate = issuing.certificate
    return is_below(certificate, root.certificate) and certificate.not_valid_after_utc - now > RENEW


def _fingerprint(root: x509.Certificate) -> str:
    return hashlib.sha256(root.public_bytes(serialization.Encoding.DER)).hexdigest()
