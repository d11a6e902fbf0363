"""What cannot be changed from afar: everything by which a policy names something of the machine that it runs on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from meshward.apply.local import is_ours
from meshward.apply.remote_guardrails import named_here, require_nothing_of_this_machine
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.schema import Policy

KIND = {"infer": ["POST /run"]}
BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "one.test",
    "issuers": {
        "corp": {
            "profile": "oidc",
            "issuer": "https://idp.test",
            "audience": "a",
            "jwks": {"file": "/etc/keys.json"},
        },
        "lab": {
            "profile": "oidc",
            "issuer": "https://lab.test",
            "audience": "a",
            "jwks": {"url": "https://10.0.0.1/keys", "allow": ["private"]},
        },
    },
    "roles": {"user": [{"issuer": "corp", "group": "users"}]},
    "credentials": {"key": {"from": "env", "name": "KEY"}},
    "servers": {"mine": KIND},
    "models": {
        "m": {
            "versions": {
                "v1": {"server": "mine", "url": "unix:/run/m.sock", "credential": "key"},
                "v2": {"server": "mine", "url": "http://10.1.1.1:8000", "replicas": ["http://model.corp:80"]},
            }
        },
        "own": {
            "versions": {"v1": {"server": "mine", "url": "http://127.0.0.1:8001", "credential": "generated"}}
        },
    },
    "grants": [{"id": "use", "roles": ["user"], "models": "all", "actions": ["infer"]}],
}


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(policy: dict[str, Any]) -> None:
        *way, last = path.split("/")
        for step in way:
            policy = policy.setdefault(step, {})
        policy[last] = value

    return edit


def server(url: str, **more: Any) -> Callable[[dict[str, Any]], None]:
    return put("models/new", {"versions": {"v1": {"server": "mine", "url": url, **more}}})


REFUSED = [
    (put("credentials/stolen", {"from": "file", "path": "/etc/shadow"}), "credentials"),
    (put("credentials/key", {"from": "env", "name": "AWS_SECRET_ACCESS_KEY"}), "credentials"),
    (put("credentials/run", {"from": "command", "command": ["/bin/sh", "-c", "id"]}), "credentials"),
    (put("edge/certificate", {"from": "files", "path": "/root/.ssh"}), "edge.certificate"),
    (put("edge/listen", "0.0.0.0:22"), "edge.listen"),
    (put("audit/seal_to", ["/etc/passwd"]), "audit.seal_to"),
    (put("audit/retention", "182d"), "audit.retention"),
    (put("issuers/corp/jwks", {"file": "/tmp/mine.json"}), "issuers.corp.jwks.file"),
    (put("issuers/corp/jwks", {}), "issuers.corp.jwks.file"),
    (put("issuers/corp/jwks/allow", ["private"]), "issuers.corp.jwks.allow"),
    (put("issuers/lab/jwks/allow", []), "issuers.lab.jwks.allow"),
    (put("issuers/lab/jwks/url", "https://10.0.0.2/latest"), "issuers.lab.jwks.url"),
    (put("issuers/new", {"profile": "oidc", "issuer": "https://n.test", "audience": "a", "jwks": {"file": "/x"}}),
     "issuers.new.jwks.file"),
    (server("unix:/var/run/docker.sock"), "models.new.versions.v1: unix:/var/run/docker.sock"),
    (server("http://127.0.0.1:9901"), "models.new.versions.v1: http://127.0.0.1:9901"),
    (server("http://localhost:9901"), "models.new.versions.v1: http://localhost:9901"),
    (server("http://10.1.1.1:22"), "models.new.versions.v1: http://10.1.1.1:22"),
    (server("http://192.168.0.1"), "models.new.versions.v1: http://192.168.0.1"),
    (server("http://100.64.0.1"), "models.new.versions.v1: http://100.64.0.1"),
    (server("http://[::1]:80"), "models.new.versions.v1: http://[::1]:80"),
    (server("http://[fd00::1]:80"), "models.new.versions.v1: http://[fd00::1]:80"),
    (server("http://[::ffff:127.0.0.1]:80"), "models.new.versions.v1: http://[::ffff:127.0.0.1]:80"),
    (server("http://[64:ff9b::7f00:1]:80"), "models.new.versions.v1: http://[64:ff9b::7f00:1]:80"),
    (server("http://anything.example.com"), "models.new.versions.v1: http://anything.example.com"),
    (server("https://intranet"), "models.new.versions.v1: https://intranet"),
    (server("https://x.localhost"), "models.new.versions.v1: https://x.localhost"),
    (put("models/m/versions/v2/replicas", ["http://127.0.0.1:1"]), "models.m.versions.v2: http://127.0.0.1:1"),
    (server("https://evil.example.com", credential="key"), "models.new.versions.v1.credential: key to https://evil.example.com"),
    *((server(f"http://[{address}]:80"), f"models.new.versions.v1: http://[{address}]:80")
      for address in ("fec0::1", "::127.0.0.1", "64:ff9b:1::7f00:1", "::ffff:0:7f00:1", "2002:7f00:1::")),
    # A generated key may be there already, and demanded by another server: of a revision before this one, too.
    (server("http://93.184.216.34:80", credential="generated"),
     "models.new.versions.v1.credential: generated to http://93.184.216.34:80"),
    (put("models/own/versions/v1/url", "http://93.184.216.34:80"),
     "models.own.versions.v1.credential: generated to http://93.184.216.34:80"),
    (put("models/own/versions/v1/url", "http://10.1.1.1:8000"),
     "models.own.versions.v1.credential: generated to http://10.1.1.1:8000"),
    (put("models/m/versions/v2/credential", "key"), "models.m.versions.v2.credential: key to http://10.1.1.1:8000"),
]  # fmt: skip
FREE = [
    server("https://x.endpoints.example.com"),
    server("unix:/run/m.sock"),
    server("http://10.1.1.1:8000"),
    server("http://model.corp"),  # port 80 is what it has
    server("http://93.184.216.34:80"),
    server("http://[2606:4700::1]:80"),
    put("models/own/timeout", "90s"),
    put("audit/retention", "184d"),
    put("models/m/traffic", {"v1": 1, "v2": 2}),
    put("roles/user", [{"issuer": "corp", "group": "others"}]),
    put("operators/apply", ["user"]),
    put("issuers/new", {"profile": "oidc", "issuer": "https://n.test", "audience": "a"}),
    put("issuers/corp/audience", "b"),
    lambda policy: policy["issuers"].pop("lab"),
    lambda policy: policy["models"]["m"]["versions"].pop("v1"),
    put("edge/hostname", "other.test"),
]


def nobodys(_: object) -> bool:
    return False


def policies(edit: Callable[[dict[str, Any]], Any]) -> tuple[Policy, Policy]:
    changed = copy.deepcopy(BASE)
    edit(changed)
    return Policy.model_validate(BASE), Policy.model_validate(changed)


@pytest.mark.parametrize(("edit", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_it_is_refused_by_name(edit: Callable[[dict[str, Any]], Any], named: str) -> None:
    old, new = policies(edit)
    assert next(named_here(old, new, nobodys)) == named
    with pytest.raises(MeshwardError) as refused:
        require_nothing_of_this_machine(old, new, nobodys)
    assert (refused.value.code.number, refused.value.exit_code) == ("MW3071", Exit.UNSAFE)
    assert named in refused.value.message and "without --edge" in refused.value.remedy


@pytest.mark.parametrize("edit", FREE)
def test_what_says_nothing_of_the_machine_is_free(edit: Callable[[dict[str, Any]], Any]) -> None:
    assert list(named_here(*policies(edit), nobodys)) == []


@pytest.mark.parametrize("url", ["http://93.184.216.34:80", "http://[2606:4700::1]:80"])
def test_a_public_address_may_be_this_machines_own(url: str) -> None:
    old, new = policies(server(url))
    named = list(named_here(old, new, lambda address: str(address) in url))
    assert named == [f"models.new.versions.v1: {url}"] and list(named_here(old, new, nobodys)) == []
    assert is_ours(ip_address("127.0.0.1")) and not is_ours(ip_address("93.184.216.34"))


def test_another_site_is_named_on_the_machine() -> None:
    policy = Policy.model_validate(BASE)
    require_nothing_of_this_machine(policy, policy, nobodys)
    with pytest.raises(MeshwardError, match="the site"):
        require_nothing_of_this_machine(policy, policy, nobodys, moves=True)
