"""Who asks from afar, and whether they may: the same proof as for a request to a model, and the operators' rights.

Nothing is remembered between two requests: rights, revocations and the issuers that are trusted are those of now.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from meshward.apply.mesh import Mesh, conflict_error
from meshward.callers.issuers import identity_of, trusted_issuer
from meshward.callers.trust import Trust
from meshward.decide.operators import rights_of, suffice
from meshward.decide.types import Identity
from meshward.kit import codes
from meshward.kit.boot import Moment
from meshward.kit.clock import system_clock
from meshward.kit.errors import MeshwardError
from meshward.kit.log import fault_of
from meshward.kit.secret import Secret
from meshward.oidc.kept_keys import KEPT, KeptKeys, read_kept
from meshward.oidc.verify import VerifiedToken
from meshward.plan.ir import Issuer, Plan

MOST_UNPROVEN = 64
"""Tokens that are being verified at the same time. The edge lets eight of one address through."""
MOST_WITHOUT_KEY = 16
"""Of these, and of one issuer, those that wait for its keys."""
LOOK_EVERY = 2.0  # seconds between two looks at whether there are keys to keep

log = structlog.get_logger(__name__)


class TooManyUnproven(Exception):
    """So many tokens are being verified that this one is not looked at."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A verified token, and who it says is asking, by `issuer` as it was when it was verified."""

    identity: Identity
    token: VerifiedToken
    issuer: Issuer
    mesh: Mesh

    def may(self, right: str | None) -> None:
        """Raises MeshwardError (exit 10) where the operator's right is lacking now, or the caller is revoked."""
        plan, now, name = self.mesh.live.plan, system_clock(), self.identity.name
        if self.mesh.revoked.hits(self.identity, self.token.token_id, now):
            raise _denial_error(
                codes.ASKER_REVOKED, f"{name} or this token was revoked", "ask the other operators"
            )
        if plan.issuers.get(self.issuer.name) != self.issuer:
            raise conflict_error("the policy names your issuer otherwise by now", "ask again")
        if "act" in self.token.claims:
            raise _denial_error(
                codes.NO_RIGHT, "an agent has no operator's right, whoever it acts for", "sign in yourself"
            )
        if not suffice(rights_of(plan, self.identity, int(now)), right):
            lacking = f"the operators' right `{right}`" if right else "an operators' right"
            remedy = (
                "the policy's `operators` names the roles that have it; a model's `manage` is none of them."
            )
            raise _denial_error(codes.NO_RIGHT, f"{name} lacks {lacking}", remedy)


class OperatorVerifier:
    """Verifies tokens by the issuers of the policy that runs, whose keys it keeps fresh, and on a disk (`keep`).

    In a thread and a loop of its own: whatever a token or an issuer's keys cost, the supervisor's loop does not wait.
    At most `MOST_UNPROVEN` tokens are there at a time.
    """

    def __init__(self, mesh: Mesh, keep: Callable[[KeptKeys], None] = lambda _: None) -> None:
        self._mesh = mesh
        self._keep = keep
        self._known = ""
        self._trust = Trust(())
        self._unproven = 0
        self._loop, self._closed = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="operators", daemon=True)
        self._thread.start()

    @property
    def expected(self) -> str:
        """Whose tokens are accepted."""
        return self._trust.expected

    async def verify(self, bearer: Secret) -> Operator:
        """Raises TokenRefused, KeysUnavailable, TooManyUnproven; MeshwardError where another policy came meanwhile."""
        if self._unproven >= MOST_UNPROVEN:
            raise TooManyUnproven
        self._unproven += 1
        asker = asyncio.get_running_loop()
        verified = asyncio.run_coroutine_threadsafe(self._verify(bearer), self._loop)
        verified.add_done_callback(lambda _: self._count_down(asker))
        return await asyncio.wrap_future(verified)

    def close(self) -> None:
        """What is under way is given up; a resolver that hangs is not waited for."""
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join(1.0)

    def _count_down(self, asker: asyncio.AbstractEventLoop) -> None:
        """Called when it has ended, also where nobody waits for it any more."""

        def count() -> None:
            self._unproven -= 1

        with suppress(RuntimeError):  # it is closed
            asker.call_soon_threadsafe(count)

    def _serve(self) -> None:
        """The thread."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        keeping = asyncio.create_task(self._keep_keys())
        await self._closed.wait()
        keeping.cancel()

    async def _verify(self, bearer: Secret) -> Operator:
        plan = self._mesh.live.plan
        token = await self._trust_in(plan).verifier.verify(bearer)
        issuer = plan.issuers.get(token.issuer)
        if issuer is None:
            raise conflict_error("the policy names your issuer no more", "Ask again.")
        return Operator(identity_of(token, issuer), token, issuer, self._mesh)

    def _trust_in(self, plan: Plan) -> Trust:
        """In the issuers of `plan`."""
        if plan.digest != self._known:
            kept = read_kept(KEPT, self._mesh.machine.state.path)
            issuers = map(trusted_issuer, plan.issuers.values())
            self._trust = self._trust.succeeded_by(issuers, kept, MOST_WITHOUT_KEY)
            self._known = plan.digest
        return self._trust

    async def _keep_keys(self) -> None:
        """Fetched before the first request, whether or not anybody asks; kept whenever there was a new document."""
        done, failed = None, ""
        while True:
            try:
                trust = self._trust_in(self._mesh.live.plan)
                if (fetched := trust.fetched) and fetched != done:
                    await asyncio.to_thread(self._keep, trust.kept(Moment.now()))
                    done, failed = fetched, ""
            except Exception as error:  # a full disk, say: it is tried again, and said once
                if (why := f"{type(error).__name__}: {error}") != failed:
                    failed = why
                    log.error("issuer_keys_not_kept", **fault_of(error))
            await asyncio.sleep(LOOK_EVERY)


def _denial_error(code: codes.Code, message: str, remedy: str) -> MeshwardError:
    return MeshwardError(code, message, remedy)
