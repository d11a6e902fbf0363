"""The running mesh of this machine: one revision at every hop, changed by one transaction at a time.

`apply`, step by step:

1. Take the turn. Whoever planned on another revision than the one that runs is refused (exit 3).
2. Stage: compile the policy, refuse what could not be enforced, run its tests and laws; render every file.
3. Compare: refuse another change than the reviewed one (exit 3), and one that widens without leave (exit 4).
4. Validate: Envoy judges the static twin of each new or changed guard; nginx its program, if that changes.
5. Record the revision as staged.
6. Switch each hop, and read back from each process that it runs its new projection (`switching`).
7. Record it as accepted: one rename, at which this machine changes its revision.
8. Discard: guards that nobody is sent to any more end when their last request has.

Up to 7, whatever goes wrong leads back to the old revision by the steps of 6 (exit 5). A process that is killed
anywhere takes every hop with it; the next start writes all of them anew, from the accepted revision alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import structlog

from meshward.apply.accept import accept
from meshward.apply.book import Book
from meshward.apply.drain import Drains
from meshward.apply.guards import Guards, Issue
from meshward.apply.hops import Owner, write_authorities
from meshward.apply.program import Program, save_facts, settings_for
from meshward.apply.renew import renew_edge, renew_guards
from meshward.apply.report import save_instance
from meshward.apply.revisions import STAGED, Revision, Revisions
from meshward.apply.revocations import load_revocations, save_revocations
from meshward.apply.slots import assign_slots
from meshward.apply.standing import Standing
from meshward.apply.switching import Say, Side, Switch, Switcher
from meshward.edge.revoked import Revoked
from meshward.kit.durable import write_atomic
from meshward.kit.errors import Exit, MeshwardError
from meshward.plan.change import Change, compare
from meshward.plan.resolve import resolve
from meshward.policy.parse import Document, to_json
from meshward.policy.schema import Policy
from meshward.runtime.bridge import Parts, refused
from meshward.runtime.machine import Machine
from meshward.runtime.ports import require_free
from meshward.spiffe.ca import load_or_create as load_authority
from meshward.targets.nginx.settings import EdgeSettings
from meshward.tokens.keys import load_or_create as load_keys

PATIENCE = 20.0  # seconds to wait for one's turn
WIDENING = "widening"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants a policy applied, why, and on which terms. `base` is the revision that they planned on."""

    author: str
    reason: str = ""
    base: int | None = None
    allow: frozenset[str] = frozenset()
    reviewed: str | None = None  # the digest of the change that was reviewed


@dataclass(frozen=True, slots=True)
class Outcome:
    """`change` is None where the policy runs already."""

    revision: int
    change: Change | None
    seconds: float


class Mesh:
    """Its methods are called from threads beside the supervisor's loop."""

    def __init__(self, machine: Machine, standing: Standing, settings: EdgeSettings, book: Book) -> None:
        self.standing = standing
        self.guards = Guards(machine)
        self.revisions = Revisions(machine.state.path)
        self._machine = machine
        self._settings = settings
        self._book = book
        self._turn = threading.Lock()
        self._drains = Drains(self.guards)
        self._parts: Parts | None = None
        self._unsettled = False  # a way back was not confirmed: the same policy is then to be applied again

    def attach(self, parts: Parts) -> None:
        """From now on there are processes to change. Before, nothing can be applied."""
        self._parts = parts

    def apply(self, document: Document, wish: Wish, say: Say) -> Outcome:
        """Make `document` what runs, at every hop, or change nothing. Raises MeshwardError as told above."""
        began = time.monotonic()
        with self._taking_turns():  # 1
            self._require_base(wish)
            accept(document, int(time.time()))  # 2
            policy = document.policy
            plan = resolve(policy)
            if plan.digest == self.standing.plan.digest and not self._unsettled:
                return Outcome(self.standing.revision, None, time.monotonic() - began)
            change = compare(self.standing.plan, plan)  # 3
            _require_reviewed(change, wish)
            _require_leave(change, wish)
            revision = self._revision(plan.digest, wish)
            switch = self._staged(policy, revision.number)
            self._validate(switch, say)  # 4
            self._record(policy, revision)  # 5
            self._carry_out(switch, revision, say)  # 6, 7
            self._discard(switch)  # 8
            log.info("applied", revision=revision.number, author=wish.author, digest=plan.digest)
            return Outcome(revision.number, change, time.monotonic() - began)

    def revoked(self) -> Revoked:
        """What is revoked now."""
        return load_revocations(self._machine.state.path).standing(time.time())

    def revoke(self, change: Callable[[Revoked], Revoked], author: str) -> Revoked:
        """Refuse more, or fewer, subjects and tokens: first durably, then at the edge, then at the guards.

        Raises MeshwardError (exit 5) naming a hop that did not take it: what the others took stays.
        """
        with self._taking_turns():
            revoked = change(self.revoked()).standing(time.time())
            save_revocations(self._machine.state.path, revoked)
            switcher = self._switcher()
            switcher.revoke(revoked)
            issue = self._issue()
            changed = self.guards.changed(self.standing, self.standing.guards(), issue)
            for guard in changed:
                self.guards.switch(guard, self.guards.render(self.standing, guard, issue), self._running())
            log.info("revoked", author=author, subjects=len(revoked.subjects), tokens=len(revoked.tokens))
            return revoked

    def renew(self) -> int:
        """New certificates for every hop; returns their generation. Raises OSError, MeshwardError."""
        with self._taking_turns():
            machine, standing = self._machine, self.standing
            issue, run = self._issue(), machine.run
            owners = {slot: Owner(machine.guard(standing.plan, key, slot)) for key, slot in standing.guards()}
            renew_guards(standing.plan, standing.slots, run, issue.authority, owners)
            self._book = self._book.renewed()
            renew_edge(standing.plan, run, issue.authority, Owner(machine.edge), self._book.generation)
            self._book.save(machine.state.path)
            return self._book.generation

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=PATIENCE):
            raise _conflict("another change is being applied", "Try again when it is done.")
        try:
            yield
        finally:
            self._turn.release()

    def _running(self) -> Parts:
        if self._parts is None:
            raise _conflict("the instance is still starting", "Try again when it is ready.")
        return self._parts

    def _switcher(self) -> Switcher:
        return Switcher(self._machine, self.guards, self._running())

    def _require_base(self, wish: Wish) -> None:
        if wish.base is not None and wish.base != self.standing.revision:
            raise _conflict(
                f"revision {self.standing.revision} runs by now; this was planned on revision {wish.base}",
                "`meshward history` names who changed it; `meshward plan` shows what yours would change now.",
            )

    def _revision(self, digest: str, wish: Wish) -> Revision:
        number = self.revisions.next_number(self.standing.revision)
        now = time.time()
        return Revision(number, STAGED, digest, self.standing.revision, wish.author, now, wish.reason)

    def _issue(self) -> Issue:
        machine = self._machine
        authority = load_authority(machine.state.path / "ca", self.standing.plan.trust_domain)
        write_authorities(authority, machine.run, Owner(machine.decide))  # it may have a new intermediate
        return Issue(authority, load_keys(machine.state.path / "keys"), tuple(self.revoked().subjects))

    def _staged(self, policy: Policy, number: int) -> Switch:
        old, plan = self.standing, resolve(policy)
        if plan.trust_domain != old.plan.trust_domain:
            raise MeshwardError(
                "MW3024",
                f"the trust domain is {old.plan.trust_domain}, and cannot become {plan.trust_domain}",
                "Every key here is of the old one: run the policy on a state directory of its own.",
                exit_code=Exit.UNSAFE,
            )
        draft = Standing(policy, plan, number, old.slots)
        kept = {key: slot for key, slot in old.slots.items() if _has(plan, key)}
        kept = {key: slot for key, slot in kept.items() if not self.guards.must_be_another(old, draft, key)}
        taken = (*old.slots.values(), *self._drains.slots())
        new = replace(draft, slots=assign_slots(plan, kept, taken))
        return self._rendered(new)

    def _rendered(self, new: Standing) -> Switch:
        old, issue = self.standing, self._issue()
        starts = [guard for guard in new.guards() if guard not in old.guards()]
        stays = [guard for guard in new.guards() if guard in old.guards()]
        for key, slot in starts:
            self._machine.guard(new.plan, key, slot)
        changes = self.guards.changed(new, stays, issue)

        def side(standing: Standing, settings: EdgeSettings) -> Side:
            return Side(standing, settings, {g: self.guards.render(standing, g, issue) for g in changes})

        stops = tuple(guard for guard in old.guards() if guard not in new.guards())
        files = {guard: self.guards.render(new, guard, issue) for guard in starts}
        return Switch(
            side(old, self._settings), side(new, settings_for(self._settings, new.plan)), files, stops
        )

    def _validate(self, switch: Switch, say: Say) -> None:
        judged = {**switch.starts, **switch.new.files}
        if judged:
            say(f"Envoy judges {len(judged)} guard{'s' if len(judged) > 1 else ''}")
        self.guards.judge(judged)
        if switch.reloads:
            say("nginx judges its program")
            old, new = switch.old.settings, switch.new.settings
            if (old.listen_host, old.listen_port) != (new.listen_host, new.listen_port):
                require_free([(new.listen_host, new.listen_port)])
            Program(self._machine).judge(new)

    def _record(self, policy: Policy, revision: Revision) -> None:
        try:
            self.revisions.stage(policy, revision)
        except OSError as error:
            raise _unrecorded(error) from None

    def _carry_out(self, switch: Switch, revision: Revision, say: Say) -> None:
        switcher = self._switcher()
        try:
            self._renamed(switch.new)
            switcher.forward(switch, say)
            try:
                self.revisions.accept(revision)
            except OSError as error:
                raise _unrecorded(error) from None
        except (MeshwardError, OSError) as error:
            say("going back")
            self._renamed(switch.old)
            self._refuse(switcher.back(switch), revision, error)
        self.standing, self._settings, self._unsettled = switch.new.standing, switch.new.settings, False
        self._write_down()

    def _renamed(self, side: Side) -> None:
        """Where the edge's host name changes, its certificate does."""
        if side.standing.plan.edge.hostname != self.standing.plan.edge.hostname:
            self._book = self._book.renewed()
            edge = Owner(self._machine.edge)
            renew_edge(
                side.standing.plan, self._machine.run, self._issue().authority, edge, self._book.generation
            )

    def _refuse(self, lacking: list[str], revision: Revision, error: MeshwardError | OSError) -> None:
        why = error.message if isinstance(error, MeshwardError) else f"a file could not be written: {error}"
        self.revisions.refuse(revision, why)
        log.error("refused", revision=revision.number, why=why, lacking=lacking)
        self._unsettled = bool(lacking)
        if lacking:
            raise MeshwardError(
                "MW3022",
                f"{why}; and the way back is not confirmed: {'; '.join(lacking)}",
                "What both revisions permit goes on. `meshward status` names the part; mend it and apply again.",
                exit_code=Exit.HOP_REFUSED,
            ) from None
        if isinstance(error, MeshwardError):
            error.exit_code = Exit.HOP_REFUSED
            raise error
        raise refused("this machine", why) from None

    def _write_down(self) -> None:
        """For people and for the next start. The revision is what its record says, whatever becomes of these."""
        machine, standing = self._machine, self.standing
        book = self._book.accepting(standing.plan.digest, standing.slots)
        self._book = replace(book, revision=standing.revision, generation=self._book.generation)
        with suppress(OSError):
            self._book.save(machine.state.path)
            save_facts(machine.state.path, self._settings)
            save_instance(machine, standing)
            write_atomic(machine.state.path / "policy.json", to_json(standing.policy))

    def _discard(self, switch: Switch) -> None:
        for guard in switch.stops:
            self._drains.begin(guard, self._running())


def _has(plan: object, key: str) -> bool:
    model, version = key.split("/")
    models = getattr(plan, "models", {})
    return model in models and any(each.name == version for each in models[model].versions)


def _require_reviewed(change: Change, wish: Wish) -> None:
    if wish.reviewed is not None and wish.reviewed != change.digest:
        raise _conflict(
            f"this is another change ({change.digest[:12]}) than the reviewed one ({wish.reviewed[:12]})",
            "`meshward plan` shows what it would change now.",
        )


def _require_leave(change: Change, wish: Wish) -> None:
    if change.widening and WIDENING not in wish.allow:
        raise MeshwardError(
            "MW3025",
            f"this widens access: {'; '.join(change.widening)}",
            "If that is meant, apply it with `--allow widening`.",
            exit_code=Exit.UNSAFE,
        )


def _conflict(message: str, remedy: str) -> MeshwardError:
    return MeshwardError("MW3026", message, remedy, exit_code=Exit.CONFLICT)


def _unrecorded(error: OSError) -> MeshwardError:
    return MeshwardError(
        "MW3027",
        f"the revision cannot be recorded: {error.strerror}",
        "Make room in the state directory, and apply again.",
        exit_code=Exit.HOP_REFUSED,
    )
