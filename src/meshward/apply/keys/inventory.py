"""How old every key and certificate is, read from what the hops have now; and which of them it is time to replace.

`read_ages` reads, `list_due` decides. What cannot be replaced is written to STATE/rotation.json, without any secret,
and `status` shows both.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509

from meshward.apply.edge_certificate import require_own_key
from meshward.apply.handed import why_not_as_handed
from meshward.apply.hop_files import CLIENT, WEB, edge_certificates
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.foreign import owner_of
from meshward.kit.statefile import StateFile, StateFileDamaged, put_under, read_plain
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
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, MeshwardError)
_LEAVES = (CA, SVIDS, EDGE_CERTIFICATE, SIGNING_KEY)


@dataclass(frozen=True, slots=True)
class Age:
    """One key or certificate. Seconds since the epoch; `ends`, `rotates` are None where there is no such time.

    `fault`: why it cannot be used as it lies there; then nothing else of it is known.
    """

    what: str
    name: str
    begins: float
    ends: float | None
    rotates: float | None  # by itself
    alarm: float  # when it should have been replaced
    fault: str = ""

    def finding(self, now: float) -> str:
        """What is wrong with it, in a sentence; empty: nothing."""
        kind = {SVIDS: "workload certificate", EDGE_CERTIFICATE: "server certificate"}.get(
            self.what, self.what
        )
        if self.fault:
            return f"{kind} is not as it was handed out: {self.name}: {self.fault}; {_remedy(self)}"
        expired = self.ends is not None and now >= self.ends
        if not expired and now < self.alarm:
            return ""
        state = "expired" if expired else "is past two thirds of its life and was not replaced"
        return f"{kind} {state}: {self.name}; {_remedy(self)}"


def _remedy(age: Age) -> str:
    if age.fault and age.rotates is None:
        return "nothing makes it anew by itself: put it back"
    if age.fault:
        return (
            f"it is written anew by itself; `meshward rotate {age.what}` does so now, or says what hinders it"
        )
    if age.what == EDGE_CERTIFICATE and age.rotates is None:
        return "renew its files: they are taken as soon as they change"
    verb = "ca --root" if age.what in (ROOT, OLD_ROOT) else age.what
    return f"`meshward rotate {verb}` replaces it, or says what hinders it"


@dataclass(frozen=True, slots=True)
class Failure:
    """What was to be replaced and could not be, and since when it is tried."""

    why: str
    since: float

    @property
    def of_files(self) -> bool:
        """Whether files that somebody else keeps are why: nothing is to be tried before those change."""
        return self.why.startswith(codes.CERTIFICATE_UNSERVABLE.number)


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
    from_files = any(age.what == EDGE_CERTIFICATE and age.rotates is None for age in inventory.ages)
    failure = inventory.failures.get(EDGE_CERTIFICATE)
    if from_files and (failure is None or failure.of_files):
        wanted -= {EDGE_CERTIFICATE}  # whoever keeps the files replaces it
    if wanted & {CA, ROOT}:
        wanted -= {SVIDS}  # a new authority means new leaves
    order = (OLD_ROOT, ROOT, CA, SVIDS, EDGE_CERTIFICATE, SIGNING_KEY, RETIRED_KEYS)
    return tuple(what for what in order if what in wanted)


def take_inventory(state: Path, run: Run, plan: Plan, slots: Mapping[str, int]) -> KeyInventory:
    """The facts of now. What cannot be read is a fault of its own, and keeps nothing else from being replaced."""
    retired, unfinished = None, False
    with suppress(*_UNREADABLE):
        retired = min((each.at for each in load_keys(state / "keys").previous), default=None)
    with suppress(*_UNREADABLE):
        overlap = CaStore(state / "ca", plan.trust_domain).names().overlap
        unfinished = overlap is not None and not overlap.used
    return KeyInventory(tuple(read_ages(state, run, plan, slots)), known_failures(state), unfinished, retired)


def read_ages(state: Path, run: Run, plan: Plan, slots: Mapping[str, int]) -> Iterator[Age]:
    """Every key and certificate of the instance that runs in `run`, with its guards in `slots`."""
    yield from _authority_ages_or_fault(state / "ca", plan.trust_domain)
    yield from _edge_ages(run, plan)
    for key, slot in sorted(slots.items()):
        yield _svid_age(f"the guard of {key}", run, slot)
    yield _signing_age(state / "keys")


def _edge_ages(run: Run, plan: Plan) -> Iterator[Age]:
    from_files = plan.edge.certificate_path is not None
    name = f"the edge, {plan.edge.hostname}" + (", from files" if from_files else "")
    reader = owner_of(run.edge_dir)

    def pem_of(stem: str) -> str:
        file = edge_certificates(run)[stem]
        pem = _read_handed(file, run, reader)
        require_own_key(pem.encode())
        return pem

    share = None if from_files else LEAF_SHARE
    yield _handed_age(EDGE_CERTIFICATE, name, share, lambda: pem_of(WEB))
    yield _handed_age(SVIDS, "the edge as client", LEAF_SHARE, lambda: pem_of(CLIENT))


def _svid_age(name: str, run: Run, slot: int) -> Age:
    def chain() -> str:
        file = run.guard_given(slot) / "xds" / "svid.json"
        secret = json.loads(_read_handed(file, run, owner_of(run.guard_dir(slot))))["resources"][0]
        return str(secret["tls_certificate"]["certificate_chain"]["inline_string"])

    return _handed_age(SVIDS, name, LEAF_SHARE, chain)


def _handed_age(what: str, name: str, share: float | None, read: Callable[[], str]) -> Age:
    """What cannot be read is due at once, one from files too: that it was handed out again is our part of it."""
    try:
        return _certificate_age(what, name, read(), share)
    except _UNREADABLE as error:
        return Age(what, name, 0, None, 0, 0, _why(error))


def _read_handed(file: Path, run: Run, reader: int) -> str:
    """Raises OSError, ValueError where the hop could not read it."""
    if fault := why_not_as_handed(file, run.given, reader):
        raise ValueError(fault)
    return file.read_text()


def _signing_age(directory: Path) -> Age:
    try:
        since = load_keys(directory).since
    except _UNREADABLE as error:
        return _kept_fault(SIGNING_KEY, "Transaction Tokens", error)
    return Age(
        SIGNING_KEY,
        "Transaction Tokens",
        since,
        None,
        since + SIGNING_KEY_LIFE,
        since + SIGNING_KEY_LIFE * 1.5,
    )


def _authority_ages_or_fault(directory: Path, trust_domain: str) -> tuple[Age, ...]:
    try:
        return tuple(_authority_ages(CaStore(directory, trust_domain), directory))
    except _UNREADABLE as error:
        return (_kept_fault(CA, "the trust domain's authority", error),)


def _kept_fault(what: str, name: str, error: BaseException) -> Age:
    """STATE's own: it is not replaced for that, since the successor would need it."""
    return Age(what, name, 0, None, None, 0, _why(error))


def _why(error: BaseException) -> str:
    if isinstance(error, MeshwardError):
        return f"{error.code.number}: {error.message}"
    if isinstance(error, OSError):
        return f"`{error.filename}`: {error.strerror}"
    return str(error) if isinstance(error, ValueError) and str(error) else type(error).__name__


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
    return read_plain(directory / f"{name}.pem").decode()


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


def told_failure(error: MeshwardError | OSError) -> str:
    """Why it could not be replaced, with code and remedy."""
    if isinstance(error, MeshwardError):
        return f"{error.code.number}: {error.message}. {error.remedy}"
    return f"a file could not be written: {error.strerror}"


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
