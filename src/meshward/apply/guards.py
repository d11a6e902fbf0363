"""The guards: what each is given for a revision, written by rename, and read back from the running process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog

from meshward.apply.credentials.keyring import Keyring
from meshward.apply.hop_files import Owner, write_guard
from meshward.apply.live_revision import Guard, LiveRevision
from meshward.apply.vendor_validation import judge_guards
from meshward.audit.quarantine import Shut
from meshward.callers.revocations import Revoked
from meshward.kit.errors import MeshwardError, run_all
from meshward.kit.foreign import faults_in
from meshward.kit.hop_socket import WITHIN, Asking, Listener, NoAnswer
from meshward.plan.naming import must_change_at_once
from meshward.runtime.machine import Machine, guard_name
from meshward.runtime.place.identities import can_execute_as
from meshward.runtime.supervise.handle import SupervisorHandle, hop_error
from meshward.runtime.supervise.strays import end_strays_of
from meshward.spiffe.ca import Authority, LeafCredential
from meshward.spiffe.ids import SpiffeId
from meshward.targets.envoy.counts import CLUSTERS_PATH, COUNTS_PATH, Counts, read_counts, read_illness
from meshward.targets.envoy.files import GuardFiles, GuardIdentity, bootstrap, changing_digests
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardPart, GuardView
from meshward.targets.envoy.readback import DUMP_PATHS, STATS_PATH, GuardReport, differences, read_report
from meshward.targets.envoy.target import GUARD, GuardPlace
from meshward.targets.envoy.wire import CREDENTIAL
from meshward.tokens.keys import SigningKeys

AT_A_TIME = 32
"""Guards that are written and watched: some that do not answer must not keep the others waiting."""
SILENCE, RESTART = 8.0, 15.0
"""Seconds for last questions to who did not answer for five, and for who starts again: however busy the machine is."""
QUESTIONS, PAUSE = 3, 0.5
"""The last questions: one connection may break off by chance."""
SOCKETS = ("guard.sock", "admin.sock")  # in a guard's own directory
log = structlog.get_logger(__name__)
_BUSY = "http.guard.downstream_rq_active"


class Refusal(MeshwardError):
    """A guard says itself that it lacks what it was given."""

    def __init__(self, guard: Guard, lack: Sequence[str]) -> None:
        said = hop_error(_name(guard), "; ".join(lack))
        super().__init__(said.code, said.message)


class GuardAdmin:
    """The admin interface of the guard that runs as `uid` behind `socket`. One that does not answer is not live."""

    def __init__(self, socket: Path, uid: int) -> None:
        self._listener = Listener(socket, uid)

    def report(self, within: float = WITHIN) -> GuardReport:
        """What the guard says. Raises NoAnswer, also for an answer that is not Envoy's."""
        asking = Asking(self._listener, within)
        dumps = {kind: asking.text(path) for kind, path in DUMP_PATHS.items()}
        try:
            return read_report(asking.text(STATS_PATH), dumps)
        except ValueError as fault:
            raise NoAnswer(f"its answer is not Envoy's: {fault}") from None

    def refusals(self) -> GuardReport | None:
        """Of a report what counts before files are written; None where the guard does not answer."""
        try:
            return read_report(self._ask(STATS_PATH), {})
        except (NoAnswer, ValueError):
            return None

    def missing(
        self, expected: Mapping[str, str], before: GuardReport | None = None, *, forgiving: bool = False
    ) -> tuple[str, ...]:
        """What keeps the guard from running `expected` (digests by file stem), in sentences.

        Refusals count since `before`, or since its start; `forgiving`: not at all.
        """
        return _told(partial(self.lacks, expected, before, forgiving=forgiving))

    def lacks(
        self,
        expected: Mapping[str, str],
        before: GuardReport | None = None,
        *,
        forgiving: bool = False,
        within: float = WITHIN,
    ) -> tuple[str, ...]:
        """`missing`, as the guard says it itself. Raises NoAnswer where it says nothing."""
        now = self.report(within)
        return differences(expected, now, now if forgiving else before)

    def counts(self) -> Counts | None:
        """What became of its requests since it started. None: it does not answer."""
        try:
            return read_counts(self._ask(COUNTS_PATH))
        except (NoAnswer, ValueError):
            return None

    def illness(self) -> str | None:
        """Why nobody should be sent to it, in a sentence. None: a server behind it is healthy."""
        try:
            return read_illness(self._ask(CLUSTERS_PATH))
        except (NoAnswer, ValueError) as fault:
            return f"its guard cannot be asked: {fault}"

    def is_busy(self) -> bool:
        """Whether requests are on their way through it. One that does not answer has none."""
        try:
            return not self._ask(f"/stats?filter=^{_BUSY}$").strip().endswith(": 0")
        except NoAnswer:
            return False

    def _ask(self, path: str) -> str:
        return Asking(self._listener).text(path)


@dataclass(frozen=True, slots=True)
class Issue:
    """What guards are given beside the policy, at one moment."""

    authority: Authority
    keys: SigningKeys
    revoked: Revoked


class Guards:
    """All guards of this machine. `given` remembers what each was seen to run."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.keyring = Keyring(machine.state.path)
        self._given: dict[Guard, Mapping[str, str]] = {}
        self._standing: dict[Guard, int] = {}  # those that were written and not removed: the uid of each
        self.shut: dict[Guard, Shut] = {}
        self.shut_away: Callable[[Guard, str], None] | None = None  # `apply.quarantine`: for what reason

    def render(self, live: LiveRevision, guard: Guard, issue: Issue) -> GuardFiles:
        """Every file of `guard`, with an SVID of its own. Raises MeshwardError where its servers' key cannot be had."""
        view = self._view(live, guard, issue)
        svid = _svid(issue.authority, view)
        jwks = issue.keys.public_jwks()["keys"]
        sent = self.keyring.sent_key(live.plan, guard[0])
        identity = GuardIdentity(svid.chain, svid.key, issue.authority.root_pem, jwks, sent)
        return GUARD.emit(view, GuardPlace(self._settings(guard), identity))

    def write(self, guard: Guard, files: GuardFiles, owner: Owner) -> None:
        """A guard that does not run yet."""
        write_guard(files, self._machine.run, guard[1], owner, self._machine.edge)
        self._machine.make_server_directory(*guard)
        self._given[guard] = files.versions
        self._standing[guard] = owner.identity.uid

    def judge(self, files: Mapping[Guard, GuardFiles]) -> None:
        """Raises MeshwardError (MW3012) with Envoy's own words."""
        judge_guards(self._machine.layout, {key: each for (key, _), each in files.items()})

    def must_be_another(self, old: LiveRevision, new: LiveRevision, key: str) -> bool:
        """Whether `new` changes what a guard is started with, who it runs as, or what the edge must know at once."""
        versions = (each.plan.version(*key.split("/")) for each in (old, new))
        if must_change_at_once(*versions):
            return True
        guard = (key, old.slots[key])
        before = self._machine.known.get(guard_name(*guard))
        views = [self._view(each, guard, None) for each in (old, new)]
        same = len({bootstrap(view, self._settings(guard)) for view in views}) == 1
        if not same or self._urls(old, key) == self._urls(new, key):
            return not same
        after = self._machine.guard(new.plan, *guard)
        if before is not None:
            self._machine.known[guard_name(*guard)] = before
        return before != after

    def changed_digests(
        self, live: LiveRevision, guards: Iterable[Guard], issue: Issue
    ) -> dict[Guard, Mapping[str, str]]:
        """The digests that `live` asks for, of those guards that do not run them."""
        wanted = {guard: self._wanted_digests(live, guard, issue) for guard in guards}
        return {guard: digests for guard, digests in wanted.items() if not self._runs(guard, digests)}

    def start(self, guard: Guard, supervisor: SupervisorHandle) -> None:
        """A new guard, written before: ready, and seen to run what it was given. Raises MeshwardError."""
        supervisor.add(self._machine.guard_spec(*guard), needed_by=("edge",))
        admin, expected = self._admin(guard), self._given[guard]
        supervisor.arrival(_name(guard), lambda: admin.missing(expected))

    def switch(
        self, guard: Guard, files: GuardFiles, supervisor: SupervisorHandle, *, back: bool = False
    ) -> None:
        """Rename the changed files into place, and wait until the guard runs them. Raises MeshwardError.

        A counter of refusals that rises is a refusal; but not on the way `back`, when the files that were
        refused may be read once more: that the old digests are both announced and loaded is proof.
        """
        given, admin = self._given.pop(guard, {}), self._admin(guard)
        before = admin.refusals()
        stems = [stem for stem in changing_stems(files) if back or given.get(stem) != files.versions[stem]]
        owner = Owner(self._machine.known[guard_name(*guard)])
        xds = self._machine.run.guard_given(guard[1]) / "xds"
        for stem in stems:
            owner.write(xds / f"{stem}.json", files.xds[stem])
        expected = {stem: files.versions[stem] for stem in changing_stems(files)}
        try:
            self._await(
                guard, partial(admin.lacks, expected, before, forgiving=back or before is None), supervisor
            )
        except Refusal:
            self._given[guard] = {stem: each for stem, each in given.items() if stem not in expected}
            raise
        self._given[guard] = {**given, **expected}

    def switch_all(
        self, files: Mapping[Guard, GuardFiles], supervisor: SupervisorHandle, *, believing: bool = False
    ) -> None:
        """`switch`, several at a time; returns when none is under way any more. Raises MeshwardError naming all.

        One that refuses alone what Envoy takes is started anew, unless we are `believing` it: whoever had it lie is
        gone with the old process. If it lies still, and others took the same change, it is shut away.
        """
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            switching = {
                guard: pool.submit(self.switch, guard, each, supervisor) for guard, each in files.items()
            }
        faults = {guard: fault for guard, each in switching.items() if (fault := each.exception())}
        for guard, fault in faults.items():
            if len(faults) == 1 and isinstance(fault, Refusal) and not believing:
                self._start_anew(guard, files[guard], fault, supervisor, alone=len(files) == 1)
                return
        run_all([each.result for each in switching.values()])

    def hand(
        self, guard: Guard, files: GuardFiles, stems: Sequence[str], supervisor: SupervisorHandle
    ) -> None:
        """Give a running guard its SVID or the trust bundle, and wait until it runs them. Raises MeshwardError."""
        given, admin = self._given.pop(guard, {}), self._admin(guard)
        self._given[guard] = {stem: digest for stem, digest in given.items() if stem not in stems}
        before = admin.refusals()
        owner = Owner(self._machine.known[guard_name(*guard)])
        for stem in stems:
            owner.write(self._machine.run.guard_given(guard[1]) / "xds" / f"{stem}.json", files.xds[stem])
        expected = {stem: files.versions[stem] for stem in stems}
        self._await(guard, partial(admin.lacks, expected, before, forgiving=before is None), supervisor)
        self._given[guard] = {**self._given[guard], **expected}

    def runs(self, guard: Guard, expected: Mapping[str, str]) -> bool:
        """Whether the guard was seen to run `expected` (digests by file stem)."""
        return self._runs(guard, expected)

    def remove(self, guard: Guard, supervisor: SupervisorHandle) -> None:
        """End it and whatever it left behind, and take its keys with it."""
        name = guard_name(*guard)
        supervisor.remove(name)
        if (identity := self._machine.known.get(name)) is not None:
            end_strays_of([identity.uid])
        for known in (self._given, self._standing, self.shut):
            known.pop(guard, None)
        for file in (self._machine.run.guard_given(guard[1]) / "xds").glob("*.json"):
            file.unlink(missing_ok=True)

    def restart(self, guard: Guard, supervisor: SupervisorHandle) -> None:
        """One that was shut away: it reads its files as they are now, and is seen to run them. Raises MeshwardError."""
        supervisor.release(guard_name(*guard))
        admin, expected = self._admin(guard), self._given.get(guard, {})
        supervisor.arrival(_name(guard), lambda: admin.missing(expected), RESTART)

    def standing(self) -> tuple[Guard, ...]:
        """All that are to run: not those that are shut away."""
        return tuple(guard for guard in tuple(self._standing) if guard not in self.shut)

    def faults(self, guard: Guard) -> list[str]:
        """What is in its own directory and does not belong there, in sentences. Raises OSError."""
        uid = self._standing.get(guard)
        return [] if uid is None else faults_in(self._machine.run.guard_dir(guard[1]), uid, SOCKETS)

    def is_busy(self, guard: Guard) -> bool:
        return self._admin(guard).is_busy()

    def counts(self, guard: Guard) -> Counts | None:
        return self._admin(guard).counts()

    def illness(self, guard: Guard) -> str | None:
        return self._admin(guard).illness()

    def _await(self, guard: Guard, lacks: partial[tuple[str, ...]], supervisor: SupervisorHandle) -> None:
        """Until it runs what it was given (`GuardAdmin.lacks`), or does not run: then it reads that when it starts.

        One that says what it lacks has refused it (Refusal). One that runs and says nothing is shut away. Raises
        MeshwardError.
        """
        part = guard_name(*guard)
        if guard in self.shut or supervisor.running(part) is None:
            return
        try:
            supervisor.arrival(_name(guard), lambda: () if guard in self.shut else _told(lacks))
        except MeshwardError as error:
            running = None if supervisor.stopping else supervisor.running(part)
            if running is None or self.shut_away is None:
                raise
            try:
                lack = _last_word(lacks)
            except NoAnswer as silence:
                if supervisor.running(part) != running:  # it died, and was not silent
                    raise error from None
                self._end_silent(guard, str(silence), supervisor)
                return
            if lack:
                raise Refusal(guard, lack) from None

    def _start_anew(
        self, guard: Guard, files: GuardFiles, refusal: Refusal, supervisor: SupervisorHandle, *, alone: bool
    ) -> None:
        """Its files are written. Raises MeshwardError: `refusal`, where it may well be true."""
        part, expected = guard_name(*guard), {stem: files.versions[stem] for stem in changing_stems(files)}
        identity, xds = self._machine.known[part], self._machine.run.guard_given(guard[1]) / "xds"
        if not can_execute_as(identity, ("/bin/cat", *(f"{xds}/{stem}.json" for stem in files.xds))):
            raise refusal
        self.judge({guard: files})
        log.warning("started_anew", guard=guard[0], why=refusal.message)
        supervisor.shut(part, f"is started anew: {refusal.message}")
        end_strays_of([identity.uid])
        supervisor.release(part)
        try:
            supervisor.arrival(_name(guard), lambda: self._admin(guard).missing(expected), RESTART)
        except MeshwardError:
            if alone or self.shut_away is None:
                raise refusal from None
            self.shut_away(
                guard, f"it refuses what Envoy and others take, started anew too: {refusal.message}"
            )
            return
        self._given[guard] = {**self._given.get(guard, {}), **expected}

    def _end_silent(self, guard: Guard, why: str, supervisor: SupervisorHandle) -> None:
        if self.shut_away is not None:
            self.shut_away(guard, f"it was given other files, and {why}")
        if supervisor.pid(guard_name(*guard)) is not None:  # stopped, it might go on by the old ones
            raise hop_error(_name(guard), f"it cannot be ended, and {why}")

    def _view(self, live: LiveRevision, guard: Guard, issue: Issue | None) -> GuardView:
        model, version = guard[0].split("/")
        revoked = issue.revoked if issue else Revoked()
        part = GuardPart(model, version, tuple(revoked.subjects), tuple(revoked.agents))
        return GUARD.project(live.plan, part)

    def _settings(self, guard: Guard) -> GuardSettings:
        run = self._machine.run
        return GuardSettings(str(run.guard_dir(guard[1])), str(run.guard_given(guard[1])))

    def _wanted_digests(self, live: LiveRevision, guard: Guard, issue: Issue) -> Mapping[str, str]:
        view = self._view(live, guard, issue)
        wanted = changing_digests(view, self._settings(guard), issue.keys.public_jwks()["keys"])
        sent = self.keyring.sent_key(live.plan, guard[0])
        return wanted if sent is None else {**wanted, CREDENTIAL: sent.edition}

    def _runs(self, guard: Guard, digests: Mapping[str, str]) -> bool:
        given = self._given.get(guard, {})
        return all(given.get(stem) == digest for stem, digest in digests.items())

    def _urls(self, live: LiveRevision, key: str) -> tuple[str, ...]:
        return self._view(live, (key, 0), None).upstreams

    def _admin(self, guard: Guard) -> GuardAdmin:
        uid = self._machine.known[guard_name(*guard)].uid
        return GuardAdmin(self._machine.run.guard_dir(guard[1]) / "admin.sock", uid)


def changing_stems(files: GuardFiles) -> list[str]:
    """Of a running guard's files those that a policy changes, in the order in which they are written."""
    return [stem for stem in files.xds if stem not in ("svid", "bundle")]


def _svid(authority: Authority, view: GuardView) -> LeafCredential:
    name = SpiffeId(view.trust_domain, f"/model/{view.model}")
    return authority.issue(name, view.dns_name, datetime.now(UTC))


def _last_word(lacks: partial[tuple[str, ...]]) -> tuple[str, ...]:
    """What a guard lacks, as it says it. Raises NoAnswer where no question is answered."""
    end = time.monotonic() + SILENCE
    for _ in range(QUESTIONS - 1):
        with suppress(NoAnswer):
            return lacks(within=max(0.0, end - time.monotonic()))
        time.sleep(PAUSE)
    return lacks(within=max(PAUSE, end - time.monotonic()))


def _told(lacks: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    try:
        return lacks()
    except NoAnswer as fault:
        return (f"the guard's admin socket: {fault}",)


def _name(guard: Guard) -> str:
    return f"the guard of {guard[0]} (slot {guard[1]:02d})"
