"""Everything that a decision depends on, read from RUN/given/decide as one value and replaced as one value.

policy.json           the policy, as canonical JSON
next.json             between two revisions: the next policy, under which a permit must hold as well
live.json             revision, guards' slots, the edge's address, which policies belong to it (`edge.instance_view`)
revocations.json      whom and which tokens to refuse whatever the policy says (`callers.revocations`)
issuer-keys.json      the issuers' last keys, for a start while an issuer is down (`oidc.kept_keys`)
keys/                 the key that signs Transaction Tokens (`tokens.key_store`)
authorities.pem       who issues the workloads' certificates (`callers.workloads`)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from meshward.callers.issuers import trusted_issuer
from meshward.callers.revocations import Revoked, load_revoked
from meshward.callers.workloads import AUTHORITIES, Workloads
from meshward.decide.decide import Decider
from meshward.edge.instance_view import VIEW, InstanceView
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.oidc.issuer import TrustedIssuer
from meshward.oidc.kept_keys import HANDED, NONE_KEPT, KeptKeys, read_kept
from meshward.plan.ir import Model, Plan, Version
from meshward.plan.naming import accepted_names, server_name
from meshward.plan.placement import place, plan_at
from meshward.policy.schema import Action, Policy
from meshward.policy.site import Site, site_from_json
from meshward.policy.values import Route
from meshward.spiffe.ids import SpiffeId
from meshward.targets.nginx.wire import Choice, rate_text, route_text
from meshward.tokens.key_store import load_current
from meshward.tokens.txn import TransactionTokenMinter


@dataclass(frozen=True, slots=True)
class Served:
    """What one exact route of a model means, and what its permits say: `wire.route_text`, and a body's names."""

    action: Action
    route: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecisionState:
    """`next`: between two revisions, what must permit as well."""

    decider: Decider
    live: InstanceView
    issuers: tuple[TrustedIssuer, ...]
    served: Mapping[str, Mapping[tuple[str, str], Served]]  # model -> (method, path) -> what it is
    minter: TransactionTokenMinter
    workloads: Workloads
    next: Decider | None = None
    revoked: Revoked = field(default_factory=Revoked)
    kept: KeptKeys = NONE_KEPT

    @property
    def plan(self) -> Plan:
        return self.decider.plan


def load(directory: Path) -> DecisionState:
    """Everything in `directory`, whole. Raises MeshwardError if any part of it cannot be used."""
    try:
        live = VIEW.read(directory)
        if live is None:
            raise _broken_error("there is no live.json")
        site = site_from_json(live.site) if live.site else None
        plan = _plan(directory / "policy.json", live.policy, site)
        following = Decider(_plan(directory / "next.json", live.until, site)) if live.until else None
        revoked = load_revoked(directory)
    except ValidationError as error:
        raise _broken_error(f"a file is no policy ({error.error_count()} errors)") from None
    except (OSError, ValueError) as error:
        raise _broken_error(f"{type(error).__name__}: {error}") from None
    if live.audience != plan.trust_domain:
        raise _broken_error("live.json belongs to another trust domain")
    _check_issuers(plan)
    _check_rates(plan)
    minter = TransactionTokenMinter(
        load_current(directory / "keys"),
        issuer=f"https://{plan.edge.hostname}",
        audience=plan.trust_domain,
        workload=str(SpiffeId(plan.trust_domain, "/edge")) if site is None else place(plan, site).shown_id,
    )
    served = {name: dict(_served_routes(model, live)) for name, model in plan.models.items()}
    issuers = tuple(map(trusted_issuer, plan.issuers.values()))
    workloads = Workloads(directory / AUTHORITIES, plan.trust_domain, plan.workloads)
    kept = read_kept(HANDED, directory)
    return DecisionState(Decider(plan), live, issuers, served, minter, workloads, following, revoked, kept)


def _plan(path: Path, digest: str, site: Site | None) -> Plan:
    """The plan of the policy in `path`. The files are renamed one by one: only those that belong together count."""
    plan = plan_at(Policy.model_validate_json(path.read_bytes()), site)
    if digest and plan.digest != digest:
        raise _broken_error(f"{path.name} belongs to another revision than live.json")
    return plan


def _served_routes(model: Model, live: InstanceView) -> Iterator[tuple[tuple[str, str], Served]]:
    """Each route of the versions that receive traffic, and those for which it means the same action."""
    versions = [version for version in model.versions if version.weight > 0]
    for route in dict.fromkeys(route for version in versions for route in version.routes):
        action = next(version.routes[route] for version in versions if route in version.routes)
        able = [version for version in versions if version.routes.get(route) == action]
        names = accepted_names(model, able, route)
        yield (route.method, route.path), Served(action, _route(model, able, route, live), names)


def _route(model: Model, able: Sequence[Version], route: Route, live: InstanceView) -> str:
    well = [each for each in able if f"{model.name}/{each.name}" not in live.ejected]
    # The last one is never ejected: it may answer all the same.
    return route_text(model.max_body, (_choice(model, version, route, live) for version in well or able))


def _choice(model: Model, version: Version, route: Route, live: InstanceView) -> Choice:
    where = live.place(model.name, version.name)
    if where is None:
        raise _broken_error(f"live.json has no place for {model.name}/{version.name}, which receives traffic")
    return Choice(version.weight, where, version.dns_name, server_name(version, route))


def _check_issuers(plan: Plan) -> None:
    urls = [issuer.url for issuer in plan.issuers.values()]
    if len(set(urls)) != len(urls):
        raise _broken_error("two issuers have one URL, and a token names only that")


def _check_rates(plan: Plan) -> None:
    for grant in plan.grants:
        try:
            rate_text(grant.limits.requests if grant.limits else None)
        except ValueError as error:
            raise _broken_error(f"the grant {grant.id} has a limit that cannot be kept: {error}") from None


def _broken_error(why: str) -> MeshwardError:
    return MeshwardError(codes.DECISION_FILES_UNUSABLE, f"the decision service's files cannot be used: {why}")
