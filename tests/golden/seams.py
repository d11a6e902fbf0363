"""The seams: what of the system a case goes through, as texts by file name. Nothing in them is of this machine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from meshward.apply.hop_files import Nginx, edge_files, edge_settings
from meshward.apply.revisions import Revision, Revisions
from meshward.apply.unsettled import Unsettled
from meshward.audit.join import arrange
from meshward.callers.revocations import Revoked, edge_text
from meshward.callers.revocations import save_text as revoked_text
from meshward.cli.main import app
from meshward.edge.decision_state import load
from meshward.edge.heartbeat import Heartbeat
from meshward.edge.instance_view import InstanceView, save_text
from meshward.edge.service import DecisionService
from meshward.instance.status import Status
from meshward.kit import codes
from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.oidc import verify
from meshward.oidc.refusal import KeysUnavailable, TokenRefused
from meshward.plan.placement import Workload, place
from meshward.plan.resolve import resolve
from meshward.policy.parse import to_json
from meshward.policy.schema import Policy
from meshward.policy.site import Site
from meshward.runtime.place.directories import Run
from meshward.runtime.place.instance_file import Guarded
from meshward.runtime.supervise.report import PartReport, Phase
from meshward.targets.envoy.files import GuardIdentity, render
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardPart, guard_view
from meshward.targets.envoy.resources import SentKey
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.target import mesh_resources
from meshward.targets.istio.text import write_files
from meshward.tokens.key_store import load_or_create
from meshward.trace.story import Story
from tests.audit import making
from tests.golden.case import Case, against, plain_json, pretty

NOW = 1_795_428_000  # Monday, 2026-11-23 10:00 UTC
_RUN = Run(Path("/run/mw"))
_SLOTS = 2  # of the edge's 64: they are all alike
_TOKEN_KEY = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "kid-1", "x": "X", "y": "Y"}

_RUN_BY = {
    "change": ("plan", "policy", "--state", "state"),
    "check": ("check", "policy"),
    "explain": (),
    "render": (),
}

Files = Mapping[str, str]
Seam = Callable[[Case, Path], Files]


def plan(case: Case, _: Path) -> Files:
    """Policy text -> what STATE keeps of it, and the plan."""
    policy = case.policy()
    return {
        "policy.json": _lines(pretty(json.loads(to_json(policy)))),
        "plan.json": _lines(pretty(plain_json(resolve(policy)))),
    }


def edge(case: Case, _: Path) -> Files:
    """Plan -> what nginx reads. Of its Lua only the settings: the rest are files of ours."""
    nginx = tuple(case.given.get("nginx", ()))
    modules = ("/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so")
    settings = edge_settings(resolve(case.policy()), _RUN, Nginx(nginx, modules, "/usr/share/lua/5.1"), 1)
    files = edge_files(replace(settings, slots=_SLOTS))
    return {
        "nginx.conf": files["nginx.conf"].decode(),
        "settings.lua": files["lua/settings.lua"].decode(),
        "revoked": edge_text(Revoked(**case.given.get("revoked", {}))),
    }


def guard(case: Case, _: Path) -> Files:
    """Plan -> the files of the guard of m/v1."""
    view = guard_view(resolve(case.policy()), GuardPart("m", "v1", case.given.get("revoked", ())))
    sent = SentKey(Secret("the server's key"), "the key's edition") if view.credential else None
    identity = GuardIdentity("the chain\n", Secret("the private key\n"), "the roots\n", [_TOKEN_KEY], sent)
    files = render(view, GuardSettings(str(_RUN.guard_dir(0)), str(_RUN.guard_given(0))), identity)
    named = {"guard.json": files.bootstrap, **{f"xds/{name}.json": data for name, data in files.xds.items()}}
    return {name.replace("/", "-"): _lines(pretty(json.loads(data))) for name, data in named.items()}


def guard_change(files: Files) -> Files:
    """Without digests, which change with whatever they name."""
    return {name: re.sub(r'("version_info": )"[0-9a-f]{64}"', r'\1"…"', text) for name, text in files.items()}


def istio(case: Case, _: Path) -> Files:
    """Plan and site -> the objects of a mesh, as people read them."""
    site = Site.model_validate({"version": 1, **case.given.get("site", {})})
    asked = case.given.get("asked", {})
    owner = Workload("edge", "meshward") if asked.get("owned") else None
    allow = frozenset(asked.get("allow", ()))
    routes, mesh_wide = asked.get("routes", "istio"), asked.get("mesh_wide", False)
    given = IstioInputs((_TOKEN_KEY,), routes, allow, owner, mesh_wide)
    files = write_files(mesh_resources(place(resolve(case.policy()), site), given))
    return {name.replace("/", "-"): re.sub("sha256:[0-9a-f]{64}", "…", text) for name, text in files.items()}


def command(case: Case, directory: Path) -> Files:
    """A verb, run in a directory with the case's policy and, where there was one before, a state that ran it."""
    (directory / "policy").mkdir(exist_ok=True)
    for source in case.sources():
        (directory / "policy" / source.name).write_bytes(source.data)
    if site := case.given.get("site"):
        (directory / "site.yaml").write_text(site)
    if case.has("before.yaml"):
        _ran(case.policy("before.yaml"), directory / "state")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _exit_of(case.given.get("run", _RUN_BY[case.seam]))
    errors = f"--- stderr\n{err.getvalue()}" if err.getvalue() else ""
    return {"said.txt": f"{out.getvalue()}{errors}--- exit {code}\n"}


def render_files(case: Case, directory: Path) -> Files:
    """Policy and site -> what `render` says, and those of its files that the case names."""
    said = command(case, directory)
    written = {name.replace("/", "-"): directory / "out" / name for name in case.given.get("files", ())}
    return {**said, **{name: _readable(path) for name, path in written.items()}}


def _readable(path: Path) -> str:
    text = path.read_text()
    return _lines(pretty(json.loads(text))) if path.suffix == ".json" else text


def _ran(policy: Policy, state: Path) -> None:
    """A state in which `policy` was accepted as revision 7."""
    state.mkdir()
    revisions = Revisions(state)
    revision = Revision(7, "staged", resolve(policy).digest, 6, "root", NOW - 60, "")
    revisions.stage(policy, revision)
    revisions.accept(revision)


def _exit_of(arguments: Sequence[str]) -> object:
    try:
        app([*arguments], exit_on_error=False)
    except SystemExit as ended:
        return ended.code
    return None


def decision(case: Case, directory: Path) -> Files:
    """What nginx asks -> the headers that it is answered. Who asks is given, not verified."""
    given = case.given
    _write_decision_state(case.policy(), Revoked(**given.get("revoked", {})), directory)
    heartbeat = Heartbeat(directory / "none" if given.get("blind") else None)
    trust: Any = SimpleNamespace(verifier=_Verifier(given), expected="https://sso.test")
    service = DecisionService(load(directory), trust, heartbeat)
    status, headers = asyncio.run(service.answer(_question(given)))
    return {
        "answer.txt": _lines(
            str(status), *(_header(name.decode(), value.decode()) for name, value in headers)
        )
    }


def _write_decision_state(policy: Policy, revoked: Revoked, directory: Path) -> None:
    keys = [
        f"{model}/{version}" for model, each in sorted(policy.models.items()) for version in each.versions
    ]
    slots = {key: f"{slot:02d}" for slot, key in enumerate(keys)}
    view = InstanceView(7, policy.trust_domain, "https://models.test", slots, "", "")
    (directory / "policy.json").write_text(to_json(policy))
    (directory / "live.json").write_text(save_text(view))
    (directory / "revocations.json").write_text(revoked_text(revoked))
    load_or_create(directory / "keys")


def _question(given: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    asked = {"method": "POST", "model": "m", "path": "/run", "front": "m", "addr": "203.0.113.9"}
    sent = {"authorization": "Bearer token"} if "caller" in given or "refused" in given else {}
    values = {**asked, **sent, **given.get("asked", {})}
    return [(f"x-mw-{name}".encode(), str(value).encode()) for name, value in values.items()]


class _Verifier:
    """Says of every token what the case says."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given

    async def verify(self, _: Secret) -> verify.VerifiedToken:
        if refused := self._given.get("refused"):
            raise TokenRefused(Reason(refused["reason"]), refused["sentence"])
        if self._given.get("keys") == "unavailable":
            raise KeysUnavailable(codes.NO_ISSUER_KEYS, "the keys cannot be had")
        claims = dict(self._given["caller"])
        subject, ends = claims.pop("sub"), claims.pop("ends_in", 3600)
        return verify.VerifiedToken(
            issuer="corp",
            subject=subject,
            client=None,
            claims={"auth_time": NOW - 60, **claims},
            issued_at=NOW - 60,
            expires_at=NOW + ends,
            ath="the-token's-hash",
            seal=verify._SEAL,
        )


def _header(name: str, value: str) -> str:
    """A header's line; below it what base64 hides, without what is new each time."""
    if name == "x-mw-facts" and value:
        return f"{name}: (base64url of) {pretty(_masked(_unpacked(value)), 2)}"
    if name == "x-mw-txn-token":
        header, claims, _ = value.split(".")
        return f"{name}: (JWT of) {pretty([_masked(_unpacked(part)) for part in (header, claims)], 2)}"
    return f"{name}: {value}"


def _unpacked(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def _masked(values: dict[str, Any]) -> dict[str, Any]:
    """Random each time: the transaction's id, the signing key's, and the hash of what it signed."""
    return {name: "…" if name in ("txn", "kid", "tth") else value for name, value in values.items()}


def status(case: Case, _: Path) -> Files:
    """What was seen of an instance -> what `status` says of it. Times are seconds before now."""
    given = case.given
    parts = [
        PartReport(**{**each, "phase": Phase(each["phase"]), "since": NOW - each["since"]})
        for each in given.get("parts", [])
    ]
    guards = [
        Guarded(slot="00", dns_name="x", socket="x", url="x", **each) for each in given.get("guards", [])
    ]
    seen = Status(
        state=".meshward",
        pid=given.get("pid"),
        parts=tuple(parts),
        notes=tuple(given.get("notes", ())),
        guards=tuple(guards),
        credentials=(),
        left=(),
        walks=tuple(given.get("walks", ())),
        ejected=given.get("ejected", {}),
        unsettled=Unsettled(**given["unsettled"]) if "unsettled" in given else None,
    )
    return {"said.txt": _lines(*seen.lines())}


def trace(case: Case, _: Path) -> Files:
    """The two hops' lines of one request -> its story."""
    rid, given = "0123456789abcdef0123456789abcdef", case.given
    edges = [making.edge(rid, **(given["edge"] or {}))] if "edge" in given else []
    guards = [making.guard(rid, **(given["guard"] or {}))] if "guard" in given else []
    return {"said.txt": _lines(*Story(rid, tuple(arrange(rid, edges, guards))).lines())}


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


SEAMS: Mapping[str, Seam] = {
    "plan": plan,
    "reference": plan,
    "edge": edge,
    "guard": guard,
    "istio": istio,
    "change": command,
    "check": command,
    "explain": command,
    "decision": decision,
    "status": status,
    "trace": trace,
    "render": render_files,
}
COMPARED: Mapping[str, Callable[[Files], Files]] = {
    "plan": dict,
    "edge": dict,
    "guard": guard_change,
    "istio": dict,
}
"""Seams of which one case stands whole and the others show the difference, and what of it is not compared."""


def rendered(case: Case, directory: Path) -> Files:
    """All goldens of a case, by file name."""
    seam = SEAMS[case.seam]
    files = seam(case, directory)
    if case.seam not in COMPARED or case.path == case.plain.path:
        return files
    comparable = COMPARED[case.seam]
    return against(comparable(seam(case.plain, directory)), comparable(files))
