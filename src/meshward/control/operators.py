"""Who asks from afar, and whether they may: the same proof as for a request to a model, and the operators' rights.

Nothing is remembered between two requests: rights, revocations and the issuers that are trusted are those of now.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshward.apply.mesh import Mesh, conflict_error
from meshward.callers.issuers import identity_of, trusted_issuer
from meshward.callers.trust import Trust
from meshward.decide.operators import rights_of, suffice
from meshward.decide.types import Identity
from meshward.kit import codes
from meshward.kit.clock import system_clock
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.oidc.verify import VerifiedToken
from meshward.plan.ir import Issuer


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
    """Verifies tokens by the issuers of the policy that runs, whose keys it keeps fresh. In the event loop alone."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._known = ""
        self._trust = Trust(())

    @property
    def trust(self) -> Trust:
        """In the issuers of now."""
        plan = self._mesh.live.plan
        if plan.digest != self._known:
            self._trust = self._trust.succeeded_by(map(trusted_issuer, plan.issuers.values()))
            self._known = plan.digest
        return self._trust

    async def verify(self, bearer: Secret) -> Operator:
        """Raises TokenRefused, KeysUnavailable; MeshwardError where another policy came meanwhile."""
        plan, trust = self._mesh.live.plan, self.trust
        token = await trust.verifier.verify(bearer)
        issuer = plan.issuers.get(token.issuer)
        if issuer is None:
            raise conflict_error("the policy names your issuer no more", "Ask again.")
        return Operator(identity_of(token, issuer), token, issuer, self._mesh)

    def close(self) -> None:
        self._trust.succeeded_by(())


def _denial_error(code: codes.Code, message: str, remedy: str) -> MeshwardError:
    return MeshwardError(code, message, remedy)
