"""A workload's sidecar as the mesh's objects make it, and its answer to a request."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from meshward.align.istio.attach import (
    Workload,
    authorization,
    envoy_filters,
    extensions,
    peer_authentication,
    request_authentication,
    sidecar,
)
from meshward.align.istio.evaluate import Facts, policy_matches
from meshward.align.istio.extauthz import SHADOW
from meshward.align.istio.facts import facts
from meshward.align.istio.faults import Fault, faults
from meshward.align.istio.filters import HTTP_RBAC, custom_filters, filters, owner, owners
from meshward.align.istio.matchers import JWT_FILTER, Json
from meshward.align.istio.objects import Mesh, MeshObject, Ref, items, mapping
from meshward.align.istio.patches import Patched, apply
from meshward.align.istio.paths import OF_MESH, normalize
from meshward.align.istio.peers import Peers, compose
from meshward.align.istio.providers import Provider, providers
from meshward.align.istio.request import Request
from meshward.align.istio.tokens import Verdict, verify

REFUSED, UNKNOWN = "refused", "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """`permit` is None where it hangs on what is not known. `through`: which objects make it so."""

    permit: bool | None
    status: int | str
    why: str
    through: tuple[Ref, ...] = ()


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Everything that decides at one workload; with `faults` nothing of it is in force."""

    workload: Workload
    domains: tuple[str, ...]
    peers: Peers
    providers: tuple[Provider, ...]
    custom: tuple[Json, ...]
    http: tuple[Json, ...]
    tcp: tuple[Json, ...]
    policies: dict[str, MeshObject]
    patched: Patched
    touched: tuple[Ref, ...]
    faults: tuple[Fault, ...]
    ingress: tuple[int, ...] | None


def read_sidecar(mesh: Mesh, workload: Workload, hosts: Collection[str] = ()) -> Sidecar:
    """`hosts`: services that a provider of `CUSTOM` may name."""
    attached = authorization(mesh, workload)
    config = mesh.config
    found = providers(request_authentication(mesh, workload))
    policies = owners(attached)
    custom, http = custom_filters(attached, config, hosts), filters(attached, config)
    bad_keys = [Fault(each.origin, f"jwks {each.bad_keys}") for each in found if each.bad_keys]
    return Sidecar(
        workload=workload,
        domains=(config.trust_domain, *config.aliases),
        peers=compose(peer_authentication(mesh, workload), config.root_namespace),
        providers=found,
        custom=tuple(custom),
        http=tuple(http),
        tcp=tuple(filters(attached, config, tcp=True)) if "tcp" in workload.protocols.values() else (),
        policies=policies,
        patched=apply(envoy_filters(mesh, workload), OF_MESH[config.normalization], list(workload.protocols)),
        touched=tuple(each.ref for each in extensions(mesh, workload)),
        faults=(*bad_keys, *faults([*custom, *http], policies)),
        ingress=_ingress(sidecar(mesh, workload)),
    )


def judge(sidecar: Sidecar, request: Request, *, fetched: bool | None = None) -> Answer:
    """What the sidecar answers; where it does not take its configuration, nobody here knows.

    `fetched`: whether keys that are fetched are the signer's. None: nobody here knows; False: as where none came, for
    which istiod puts a key that nobody has.
    """
    ending = next((fault for fault in sidecar.faults if fault.ends), None)
    if ending:
        return Answer(False, REFUSED, f"Envoy ends on a {ending.why}", (ending.ref,))
    if sidecar.faults:
        fault = sidecar.faults[0]
        return Answer(None, UNKNOWN, f"Envoy keeps an earlier configuration: {fault.why}", (fault.ref,))
    refused = _connect(sidecar, request)
    if refused is not None:
        return refused
    if sidecar.workload.protocols.get(request.port, "http") == "tcp":
        return _rules(sidecar, sidecar.tcp, facts(request, request.path))
    path = normalize(request.path, sidecar.patched.normalization)
    if isinstance(path, int):
        return Answer(False, path, "the path is not taken")
    return _http(sidecar, request, path, fetched)


def _connect(sidecar: Sidecar, request: Request) -> Answer | None:
    """A refusal before there is HTTP, or None."""
    if (
        sidecar.ingress is not None
        and request.port not in sidecar.ingress
        and not sidecar.workload.intercepted
    ):
        return Answer(False, REFUSED, "no listener on this port")
    mode = sidecar.peers.of(request.port)
    through = (mode.through,) if mode.through else ()
    client = request.client
    plain_only = mode.mode == "DISABLE" or (mode.mode != "STRICT" and not sidecar.workload.intercepted)
    if not client.tls:
        return Answer(False, REFUSED, "plaintext", through) if mode.mode == "STRICT" else None
    if plain_only:
        return Answer(False, REFUSED, "plaintext alone is taken", through)
    own = client.spiffe_id is not None and any(
        client.spiffe_id.startswith(f"spiffe://{domain}/") for domain in sidecar.domains
    )
    if not client.trusted or not own:
        return Answer(False, REFUSED, "no certificate of the mesh's trust domain")
    return None


def _http(sidecar: Sidecar, request: Request, path: str, known: bool | None) -> Answer:
    unlocked = JWT_FILTER in sidecar.patched.removed
    found = () if unlocked else sidecar.providers
    before = None
    if HTTP_RBAC not in sidecar.patched.removed and sidecar.custom:
        before = _rules(sidecar, sidecar.custom, facts(request, path))
        if before.permit is False:
            return before
    answer = _behind(sidecar, request, path, verify(found, request, trust_fetched=bool(known)))
    fetched = tuple(each.origin for each in found if each.keys is None)
    if fetched and known is None:
        trusted = _behind(sidecar, request, path, verify(found, request, trust_fetched=True))
        if answer.permit != trusted.permit:
            return Answer(None, UNKNOWN, "keys are fetched from elsewhere", fetched)
    if before is not None and before.permit is None and answer.permit is not False:
        return before
    return answer


def _behind(sidecar: Sidecar, request: Request, path: str, verdict: Verdict) -> Answer:
    if not verdict.passes:
        return Answer(False, verdict.code, verdict.status, tuple(each.origin for each in sidecar.providers))
    if HTTP_RBAC in sidecar.patched.removed:
        return Answer(True, 200, "the rules were taken out", (sidecar.patched.removed[HTTP_RBAC],))
    answer = _rules(sidecar, sidecar.http, facts(request, path, verdict))
    if answer.permit is not False and verdict.provider:
        return Answer(answer.permit, answer.status, answer.why, (*answer.through, verdict.provider.origin))
    return answer


def _rules(sidecar: Sidecar, chain: Sequence[Json], seen: Facts) -> Answer:
    """Each RBAC filter in turn; the first that refuses ends it."""
    through: tuple[Ref, ...] = ()
    unsure: list[Ref] = []
    for each in chain:
        config = each["typedConfig"]
        if config.get("shadowRulesStatPrefix") == SHADOW:
            unsure += _refs(sidecar, _matching(config.get("shadowRules", {}), seen))
        rules = config.get("rules")
        if rules is None or rules.get("action") == "LOG":
            continue
        matched = _matching(rules, seen)
        refs = _refs(sidecar, matched)
        sure = any(matched.values())
        if rules.get("action") == "DENY" and sure:
            return Answer(False, 403, "a DENY matches", refs)
        if rules.get("action") != "DENY" and not matched:
            return Answer(False, 403, "no ALLOW matches", _refs(sidecar, rules.get("policies", {})))
        if rules.get("action") != "DENY":
            through = refs
        unsure += () if sure else refs
    if unsure:
        return Answer(None, UNKNOWN, "hangs on what is not known", tuple(dict.fromkeys(unsure)))
    return Answer(True, 200, "an ALLOW matches" if through else "no ALLOW is in force", through)


def _matching(rules: Json, seen: Facts) -> dict[str, bool]:
    """Whether surely, of each policy that matches or may; sure ones first."""
    found = [(name, policy_matches(policy, seen)) for name, policy in rules.get("policies", {}).items()]
    known = [(name, each is True) for name, each in found if each is not False]
    return dict(sorted(known, key=lambda each: not each[1]))


def _refs(sidecar: Sidecar, names: Collection[str]) -> tuple[Ref, ...]:
    found = [owner(sidecar.policies, name) for name in names]
    return tuple(dict.fromkeys(each.ref for each in found if each is not None))


def _ingress(shaped: MeshObject | None) -> tuple[int, ...] | None:
    """Ports that a Sidecar's ingress opens; None where it says nothing of them."""
    listed = items(shaped.spec.get("ingress")) if shaped else []
    ports = [mapping(mapping(each).get("port")).get("number") for each in listed]
    return tuple(port for port in ports if isinstance(port, int)) if listed else None
