"""How old every key and certificate is, read from what the hops have now; and which of them it is time to replace.

`read_ages` reads, `list_due` decides. What cannot be replaced is written to STATE/rotation.json, without any secret,
and `status` shows both.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509

from meshward.apply.hop_files import CLIENT, WEB, edge_certificates
from meshward.kit.statefile import StateFile, StateFileDamaged, put_under
from meshward.plan.ir import Plan
from meshward.runtime.place.directories import Run
from meshward.runtime.supervise.ready import leaf_of
from meshward.spiffe.ca_store import CaStore
from meshward.tokens.key_store import load as load_keys
from meshward.tokens.keys import RETIRED_FOR

SVIDS, CA, ROOT, OLD_ROOT = "svids", "ca", "root", "old root"
EDGE_CERTIFICATE, SIGNING_KEY, RETIRED_KEYS = "edge-certificate", "signing-key", "retired signing keys"

SIGNING_KEY_LIFE = 86400.0  # seconds that a key signs
LEAF_SHARE = 1 / 3  # of a leaf's life, at which there is a new one: two tries more may fail
AUTHORITY_SHARE = 0.6  # of a root's or an intermediate's life
ALARM_SHARE = 2 / 3  # of any life: by then it should have been replaced
_one_at_a_time = threading.Lock()  # who looks at files takes no turn
log = structlog.get_logger(__name__)
_LEAVES = (CA, SVIDS, EDGE_CERTIFICATE, SIGNING_KEY)


@dataclass(frozen=True, slots=True)
class Age:
    """One key or certificate. Seconds since the epoch; `ends`, `rotates` are None where there is no such time."""

    what: str
    name: str
    begins: float
    ends: float | None
    rotates: float | None  # by itself
    alarm: float  # when it should have been replaced

    def finding(self, now: float) -> str:
        """What is wrong with it, in a sentence; empty: nothing."""
        expired = self.ends is not None and now >= self.ends
        if not expired and now < self.alarm:
            return ""
        kind = {SVIDS: "workload certificate", EDGE_CERTIFICATE: "server certificate"}.get(
            self.what, self.what
        )
        state = "expired" if expired else "is past two thirds of its life and was not replaced"
        return f"{kind} {state}: {self.name}; {_remedy(self)}"


def _remedy(age: Age) -> str:
    if age.what == EDGE_CERTIFICATE and age.rotates is None:
        return "renew its files: they are taken as soon as they change"
    verb = "ca --root" if age.what in (ROOT, OLD_ROOT) else age.what
    return f"`meshward rotate {verb}` replaces it, or says what hinders it"


@dataclass(frozen=True, slots=True)
class Failure:
    """What was to be replaced and could not be, and since when it is tried."""

    why: str
    since: float


@dataclass(frozen=True, slots=True)
class Failures:
    """By what was to be replaced."""

    failures: Mapping[str, Failure]


FAILURES = StateFile(
    "rotation.json",
    Failures,
    place="STATE",
    what="which keys and certificates could not be replaced, and why",
    remedy="Remove it: what cannot be replaced is tried again, and written down anew.",
    renewed=True,
    migrations=(put_under("failures"),),
)


@dataclass(frozen=True, slots=True)
class KeyInventory:
    """Everything that `list_due` looks at. `unfinished`: a new root is announced, and does not issue yet; `retired`:
    the earliest time at which a signing key stopped signing, of those that guards still accept."""

    ages: tuple[Age, ...]
    failures: Mapping[str, Failure]
    unfinished: bool = False
    retired: float | None = None


def list_due(inventory: KeyInventory, now: float) -> tuple[str, ...]:
    """What is to be replaced at `now`, in the order in which to do it.

    A certificate that begins in the future (the clock was set back) is of no use either. What failed is tried again.
    """
    wanted = {age.what for age in inventory.ages if age.rotates is not None and now >= age.rotates}
    wanted |= {age.what for age in inventory.ages if now < age.begins and age.what in _LEAVES}
    wanted |= set(inventory.failures)
    if inventory.unfinished:
        wanted.add(ROOT)
    if inventory.retired is not None and not 0 <= now - inventory.retired < RETIRED_FOR:
        wanted.add(RETIRED_KEYS)
    if any(age.what == EDGE_CERTIFICATE and age.rotates is None for age in inventory.ages):
        wanted -= {EDGE_CERTIFICATE}  # from files: whoever keeps those replaces it
    if wanted & {CA, ROOT}:
        wanted -= {SVIDS}  # a new authority means new leaves
    order = (OLD_ROOT, ROOT, CA, SVIDS, EDGE_CERTIFICATE, SIGNING_KEY, RETIRED_KEYS)
    return tuple(what for what in order if what in wanted)


def take_inventory(state: Path, run: Run, plan: Plan, slots: Mapping[str, int]) -> KeyInventory:
    """The facts of now. Raises OSError, ValueError, MeshwardError where a file cannot be read."""
    keys = load_keys(state / "keys")
    overlap = CaStore(state / "ca", plan.trust_domain).names().overlap
    retired = min((each.at for each in keys.previous), default=None)
    unfinished = overlap is not None and not overlap.used
    return KeyInventory(tuple(read_ages(state, run, plan, slots)), known_failures(state), unfinished, retired)


def read_ages(state: Path, run: Run, plan: Plan, slots: Mapping[str, int]) -> Iterator[Age]:
    """Every key and certificate of the instance that runs in `run`, with its guards in `slots`."""
    yield from _authority_ages(CaStore(state / "ca", plan.trust_domain), state / "ca")
    certificates, from_files = edge_certificates(run), plan.edge.certificate_path is not None
    name = f"the edge, {plan.edge.hostname}" + (", from files" if from_files else "")
    yield _certificate_age(
        EDGE_CERTIFICATE, name, certificates[WEB].read_text(), None if from_files else LEAF_SHARE
    )
    client = certificates[CLIENT].read_text()
    yield _certificate_age(SVIDS, "the edge as client", client, LEAF_SHARE)
    for key, slot in sorted(slots.items()):
        yield _svid_age(f"the guard of {key}", run.guard_given(slot) / "xds" / "svid.json")
    since = load_keys(state / "keys").since
    alarm = since + SIGNING_KEY_LIFE * 1.5
    yield Age(SIGNING_KEY, "Transaction Tokens", since, None, since + SIGNING_KEY_LIFE, alarm)


def _svid_age(name: str, file: Path) -> Age:
    """One that cannot be read is as good as ended: that must not keep the others from being replaced."""
    try:
        secret = json.loads(file.read_text())["resources"][0]
        chain = secret["tls_certificate"]["certificate_chain"]["inline_string"]
        return _certificate_age(SVIDS, name, chain, LEAF_SHARE)
    except (OSError, ValueError, LookupError, TypeError):
        return Age(SVIDS, name, 0, 0, 0, 0)


def _authority_ages(store: CaStore, directory: Path) -> Iterator[Age]:
    names = store.names()
    overlap = names.overlap
    root, issuing = names.root, names.issuing
    if overlap is not None and overlap.used:
        old = _certificate_age(OLD_ROOT, "until its successor is everywhere", _text(directory, root), None)
        end = store.old_root_may_go()
        yield Age(old.what, old.name, old.begins, old.ends, end, end + 86400)
        root, issuing = overlap.root, overlap.issuing
    yield _certificate_age(ROOT, "the trust domain's", _text(directory, root), AUTHORITY_SHARE)
    yield _certificate_age(CA, "the intermediate that issues", _text(directory, issuing), AUTHORITY_SHARE)


def _text(directory: Path, name: str) -> str:
    return (directory / f"{name}.pem").read_text()


def _certificate_age(what: str, name: str, pem: str, share: float | None) -> Age:
    leaf = x509.load_der_x509_certificate(leaf_of(pem))
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    rotates = None if share is None else begins + (ends - begins) * share
    return Age(what, name, begins, ends, rotates, begins + (ends - begins) * ALARM_SHARE)


def load_failures(state: Path) -> Mapping[str, Failure]:
    """What could not be replaced since the start. Raises MeshwardError for a file that cannot be used."""
    kept = FAILURES.read(state)
    return kept.failures if kept else {}


def known_failures(state: Path) -> Mapping[str, Failure]:
    """As `load_failures`; damage is said and begun anew: it must not keep keys from being replaced."""
    try:
        return load_failures(state)
    except StateFileDamaged as error:
        log.warning("begun_anew", code=error.code.number, why=error.message)
        forget_failures(state)
        return {}


def save_failure(state: Path, what: str, why: str | None) -> None:
    """Remember that `what` could not be replaced; None: it was. Raises OSError."""
    with _one_at_a_time:
        failures = dict(known_failures(state))
        before = failures.pop(what, None)
        if why is None and before is None:
            return
        if why is not None:
            failures[what] = Failure(why, before.since if before else datetime.now(UTC).timestamp())
        FAILURES.write(state, Failures(failures))


def forget_failures(state: Path) -> None:
    """At a start everything is written anew."""
    (state / FAILURES.name).unlink(missing_ok=True)
