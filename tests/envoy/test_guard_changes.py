"""Changes by file: enforced at once, read back truthfully, and a broken file changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from guard_harness import EDGE, Guard, binary, running, view
from guard_pki import Authority, Signer, claims

from meshward.apply.guards import GuardAdmin
from meshward.kit.secret import Secret
from meshward.targets.envoy.files import GuardFiles, GuardIdentity, render, validate_command
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardedRoute
from meshward.targets.envoy.resources import SentKey
from meshward.targets.envoy.twins import join_twins
from meshward.testing.waiting import eventually


def test_rules_are_enforced_on_an_open_connection() -> None:
    with running() as guard:
        connection = guard.connect()
        assert guard.ask(connection=connection).status == 200
        guard.apply(guard.render(routes=(GuardedRoute("POST", "/other", "m.1.infer"),)))
        assert guard.ask(connection=connection).status == 403
        assert guard.ask("/other").status == 200


def test_a_route_whose_demand_nobody_knows_is_refused() -> None:
    """Nor one without any. The rules and what verifies tokens come in two files: neither is open without the other."""
    for pattern, by in (
        ('"requirement_name": "[^"]*"', '"requirement_name": "m.1.other"'),
        ("txn-jwt", "txn-jwx"),
    ):
        with running() as guard:
            document = json.loads(guard.files.xds["rds"])
            document["version_info"] = by
            _replace(pattern, by)(document)
            guard.put("rds", json.dumps(document).encode())
            eventually(lambda guard=guard: guard.ask().status == 403, what="it is closed")
            guard.model.seen.clear()
            every = ["td.test", *(f"m.1.{action}" for action in ("infer", "describe", "observe", "manage"))]
            assert guard.ask().status == guard.ask(token=guard.token(aud=every)).status == 403
            assert guard.model.seen == []


def test_no_routes_at_all_still_refuse() -> None:
    with running() as guard:
        guard.apply(guard.render(routes=()))
        assert guard.ask().status == 403
        assert guard.model.seen == []


def test_signing_keys_rotate_without_a_failed_request() -> None:
    """Next, use, drop; a dropped key's tokens die at once, on open connections and out of the cache."""
    with running() as guard:
        following = Signer("k2")
        connection = guard.connect()
        old = guard.token()
        new = following.sign(claims(guard.view.model))
        assert guard.ask(token=old, connection=connection).status == 200
        guard.apply(guard.render(token_keys=(guard.signer.jwk, following.jwk)))
        assert guard.ask(token=old, connection=connection).status == 200
        assert guard.ask(token=new, connection=connection).status == 200
        guard.apply(guard.render(token_keys=(following.jwk,)))
        assert guard.ask(token=new, connection=connection).status == 200
        assert guard.ask(token=old, connection=connection).status == 401


def test_certificates_and_roots_rotate() -> None:
    with running() as guard:
        after = Authority("next")
        both = guard.authority.bundle + after.bundle
        guard.apply(guard.render(bundle=both))
        assert guard.ask(connection=guard.connect(after.issue(EDGE))).status == 200
        own = after.issue(guard.view.spiffe_id, dns=guard.view.dns_name)
        guard.apply(guard.render(bundle=both, chain=own.chain, key=Secret(own.key)))
        guard.authority = after
        assert guard.ask(connection=guard.connect(after.issue(EDGE))).status == 200


def test_the_server_moves() -> None:
    with running() as guard:
        guard.apply(guard.render(upstream="http://127.0.0.1:9"))
        assert guard.ask().status == 503
        assert guard.model.seen == []


Document = dict[str, Any]


def _rename(name: str) -> Callable[[Document], None]:
    """Mistype the key `name`, wherever it first stands in the resource."""

    def spoil(document: Document) -> None:
        text = json.dumps(document["resources"])
        assert f'"{name}"' in text
        document["resources"] = json.loads(text.replace(f'"{name}"', f'"{name}x"', 1))

    return spoil


def _replace(pattern: str, by: str) -> Callable[[Document], None]:
    def spoil(document: Document) -> None:
        text, count = re.subn(pattern, lambda _: by, json.dumps(document["resources"]))
        assert count
        document["resources"] = json.loads(text)

    return spoil


def _nothing(document: Document) -> None:
    document["resources"] = []


def _foreign_key(document: Document) -> None:
    certificate = document["resources"][0]["tls_certificate"]
    certificate["private_key"]["inline_string"] = Authority().issue(EDGE).key


BROKEN: dict[str, tuple[str, Callable[[Document], None] | None]] = {
    "rules cut off": ("rds", None),
    "token keys cut off": ("ecds-jwt", None),
    "svid cut off": ("svid", None),
    "bundle cut off": ("bundle", None),
    "server cut off": ("cds", None),
    "mistyped rbac": ("rds", _rename("rbac")),
    "mistyped policies": ("rds", _rename("policies")),
    "mistyped principals": ("rds", _rename("principals")),
    "mistyped requirement": ("rds", _rename("requirement_name")),
    "mistyped caller": ("rds", _rename("filter_state")),
    "a filter of another kind": ("rds", _replace("PerRouteConfig", "PerRouteKonfig")),
    "mistyped audiences": ("ecds-jwt", _rename("audiences")),
    "mistyped requirements": ("ecds-jwt", _rename("requirement_map")),
    "mistyped subjects": ("ecds-jwt", _rename("subjects")),
    "a requirement of nobody": ("ecds-jwt", _replace('"provider_name": "txn"', '"provider_name": "tnx"')),
    "mistyped cluster": ("cds", _rename("type")),
    "other name": ("rds", _replace('"name": "guard"', '"name": "other"')),
    "no rules": ("rds", _nothing),
    "no token filter": ("ecds-jwt", _nothing),
    "no certificate": ("svid", _nothing),
    "no roots": ("bundle", _nothing),
    "bad roots": ("bundle", _replace("BEGIN CERTIFICATE", "BEGIN CERTIFICAT")),
    "another's key": ("svid", _foreign_key),
    "bad keys": ("ecds-jwt", _replace(r'\{\\"keys\\"', r"{\"keyz\"")),
}


@pytest.fixture(scope="module")
def victim() -> Any:
    with running(revoked=("okta:eve",)) as guard:
        yield guard


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_keeps_the_last_good_one_and_is_never_called_live(victim: Guard, case: str) -> None:
    name, spoil = BROKEN[case]
    good = victim.files.xds[name]
    document = json.loads(good)
    document["version_info"] = case
    if spoil is not None:
        spoil(document)
    text = json.dumps(document).encode()
    admin = GuardAdmin(Path(victim.settings.admin_socket), os.geteuid())
    before = admin.report()
    attempts = _attempts(victim, name)
    victim.put(name, text if spoil is not None else text[: len(text) // 2])
    eventually(lambda: _attempts(victim, name) > attempts, what="the guard has read the file")
    assert admin.missing(victim.files.versions | {name: case}, before)
    assert victim.ask().status == 200
    assert victim.ask(token=None).status == 401
    assert victim.ask(token=victim.token("manage")).status == 403
    before = admin.report()
    victim.put(name, good)
    eventually(lambda: not admin.missing(victim.files.versions, before), what="the good file is live again")


@pytest.mark.parametrize("name", ["rds", "cds", "ecds-jwt", "svid", "bundle"])
def test_a_guard_that_starts_on_a_broken_file_is_closed_and_heals(name: str) -> None:
    with running(broken=name) as guard:
        admin = GuardAdmin(Path(guard.settings.admin_socket), os.geteuid())
        assert admin.missing(guard.files.versions)
        try:
            answer = guard.ask()
            assert answer.status in (403, 503)
            assert answer.headers["x-mw-layer"] == "guard"
        except (OSError, EOFError):
            assert name in ("svid", "bundle")
        assert guard.model.seen == []
        before = admin.report()
        guard.put(name, guard.files.xds[name])
        eventually(lambda: not admin.missing(guard.files.versions, before), what="it has healed")
        assert guard.ask().status == 200


def test_an_empty_server_file_closes() -> None:
    with running() as guard:
        guard.put("cds", b'{"version_info":"none","resources":[]}')
        eventually(lambda: guard.ask().status == 503, what="the server is gone")
        assert GuardAdmin(Path(guard.settings.admin_socket), os.geteuid()).missing(guard.files.versions)


def test_a_guard_that_is_not_there_is_not_live(tmp_path: Path) -> None:
    (sentence,) = GuardAdmin(tmp_path / "none.sock", os.geteuid()).missing({"rds": "x"})
    assert "does not answer" in sentence


def _attempts(guard: Guard, name: str) -> int:
    scope = {
        "rds": "http.guard.rds.guard",
        "cds": "cluster_manager.cds",
        "svid": "sds.svid",
        "bundle": "sds.bundle",
    }.get(name, "extension_config_discovery.http_filter.txn-jwt")
    transport = httpx2.HTTPTransport(uds=guard.settings.admin_socket)
    with httpx2.Client(transport=transport, base_url="http://x") as client:
        lines = client.get(f"/stats?filter=^{scope}.(update_(success|rejected|failure)|config_fail)$").text
    return sum(int(line.split()[-1]) for line in lines.splitlines())


# --- the static twin, judged by the vendor before anything is switched ---


def files(directory: str = "/run/guard", sent: SentKey | None = None) -> GuardFiles:
    authority = Authority()
    guarded = view("unix:/run/m.sock", credential=sent is not None, revoked=("okta:eve",))
    own = authority.issue(guarded.spiffe_id, dns=guarded.dns_name)
    identity = GuardIdentity(own.chain, Secret(own.key), authority.bundle, (Signer().jwk,), sent)
    return render(guarded, GuardSettings(directory), identity)


def judged(twin: bytes, tmp_path: Path) -> bool:
    path = tmp_path / "twin.json"
    path.write_bytes(twin)
    return (
        subprocess.run(validate_command(binary(), str(path)), capture_output=True, check=False).returncode
        == 0
    )


def test_the_twin_is_valid_and_holds_all_that_runs(tmp_path: Path) -> None:
    made = files()
    assert judged(made.twin, tmp_path)
    twin = json.loads(made.twin)
    manager = twin["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][-1]["typed_config"]
    for name, part in (("rds", manager["route_config"]), ("cds", twin["static_resources"]["clusters"][0])):
        (resource,) = json.loads(made.xds[name])["resources"]
        assert {"@type": resource["@type"], **part} == resource
    (token,) = json.loads(made.xds["ecds-jwt"])["resources"]
    assert manager["http_filters"][0]["typed_config"] == token["typed_config"]


MISTYPED: dict[str, tuple[bytes, bytes]] = {
    "rbac": (b'"rbac":{"rules"', b'"rbacc":{"rules"'),
    "principals": (b'"principals"', b'"principal"'),
    "and_ids": (b'"and_ids"', b'"andids"'),
    "unknown cluster": (b'"cluster":"model","idle', b'"cluster":"nodel","idle'),
    "keys": (b'{\\"keys\\":', b'{\\"keyz\\":'),
    "matcher without a value": (b'"string_match":{"exact":"okta:eve"}', b'"string_match":{}'),
    "caller without a value": (b'"string_match":{"exact":"spiffe://td.test/edge"}', b'"string_match":{}'),
    "audiences": (b'"audiences":["m.1.infer"]', b'"audience":["m.1.infer"]'),
    "requirement": (b'"requirement_name"', b'"requirement_nam"'),
    "certificate": (b"BEGIN CERTIFICATE", b"BEGIN CERTIFICAT"),
    "provider": (b'"provider_name":"txn"', b'"provider_name":"tnx"'),
}


@pytest.mark.parametrize("case", MISTYPED)
def test_a_mistyped_twin_is_refused(tmp_path: Path, case: str) -> None:
    right, wrong = MISTYPED[case]
    twin = files().twin
    assert right in twin, "the test no longer spoils anything"
    assert judged(twin, tmp_path)
    assert not judged(twin.replace(right, wrong), tmp_path)


def test_a_twin_with_another_certificates_key_is_refused(tmp_path: Path) -> None:
    authority, guarded = Authority(), view("unix:/run/m.sock")
    own, other = authority.issue(guarded.spiffe_id, dns=guarded.dns_name), authority.issue(EDGE)
    identity = GuardIdentity(own.chain, Secret(other.key), authority.bundle, (Signer().jwk,))
    assert not judged(render(guarded, GuardSettings("/run/guard"), identity).twin, tmp_path)


def test_many_twins_are_judged_in_one_go_and_one_spoils_all(tmp_path: Path) -> None:
    keys = (None, SentKey(Secret("of its server"), "1"), None)
    several = [files(f"/run/{number}", key).twin for number, key in enumerate(keys)]
    one = json.loads(join_twins(several))
    names = [each["name"] for each in one["static_resources"]["listeners"]]
    assert len(set(names)) == len(names) == 3
    assert judged(join_twins(several), tmp_path)
    for place in range(3):
        for case, (right, wrong) in MISTYPED.items():
            if case != "unknown cluster":  # it is known in the others
                spoiled = [*several[:place], several[place].replace(right, wrong), *several[place + 1 :]]
                assert not judged(join_twins(spoiled), tmp_path), (case, place)
