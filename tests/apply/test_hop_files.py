"""What a policy's text can and cannot change in the edge's program, and who may read a hop's files."""

from __future__ import annotations

import os
from pathlib import Path

from meshward.apply.hop_files import Nginx, Owner, edge_files, edge_settings
from meshward.apply.live_revision import origin
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.runtime.place.directories import Run
from meshward.runtime.place.identities import ProcessIdentity
from meshward.targets.nginx.projection import rates

_RUN = Run(Path("/var/lib/mw"))


def _nginx(version: tuple[int, ...]) -> Nginx:
    return Nginx(version, ("/usr/lib/nginx/modules/x.so",), "/usr/share/lua/5.1")


def plan_of(**over: object) -> Plan:
    policy = {
        "version": 1,
        "trust_domain": "one.test",
        "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/x.sock"}}}},
        **over,
    }
    return resolve(Policy.model_validate(policy))


def program(plan: Plan) -> dict[str, bytes]:
    return dict(edge_files(edge_settings(plan, _RUN, _nginx((1, 22, 1)), 1)))


def test_an_nginx_that_can_keep_idle_connections_through_a_reload_does() -> None:
    """`keepalive_min_timeout`, since nginx 1.27.4; an older one would refuse its program for it."""
    for version, has in (((1, 22, 1), False), ((1, 27, 3), False), ((1, 27, 4), True), ((1, 31), True)):
        conf = edge_files(edge_settings(plan_of(), _RUN, _nginx(version), 1))["nginx.conf"]
        assert (b"keepalive_min_timeout" in conf) == has, version


def test_two_policies_that_differ_in_every_text_have_one_program() -> None:
    """Invariant: nothing that a policy's author wrote is compiled into nginx.conf or the script."""
    one = plan_of()
    other = plan_of(
        trust_domain="two.test",
        issuers={"x": {"profile": "oidc", "issuer": "https://x.test/a", "audience": 'a"; return 200'}},
        roles={"r": [{"issuer": "x", "group": "${http_authorization}; } location / {"}]},
        models={
            "other": {
                "aliases": ['"; }'],
                "versions": {"v9": {"server": "vllm", "url": "http://127.0.0.1:1"}},
            }
        },
        grants=[{"id": "g", "roles": ["r"], "models": "all", "actions": ["infer"]}],
    )
    assert program(one) == program(other)


def test_only_rates_come_from_grants() -> None:
    def grant(name: str, requests: str) -> dict[str, object]:
        return {
            "id": name,
            "roles": ["r"],
            "models": "all",
            "actions": ["infer"],
            "limits": {"requests": requests},
        }

    plan = plan_of(
        issuers={"x": {"profile": "oidc", "issuer": "https://x.test", "audience": "a"}},
        roles={"r": [{"issuer": "x", "group": "g"}]},
        grants=[
            grant("a", "600/min"),
            grant("b", "5/s"),
            grant("c", "600/min"),
            grant("d", "10/hour"),
            grant("e", "9/day"),
        ],
    )
    assert rates(plan) == ("5r/s", "600r/m"), "an hour or a day is not nginx's to count, and no minute either"


def test_origin_leaves_the_default_port_out() -> None:
    assert origin(plan_of(edge={"listen": "127.0.0.1:443", "hostname": "a.test"})) == "https://a.test"
    assert origin(plan_of(edge={"listen": "127.0.0.1:8443", "hostname": "a.test"})) == "https://a.test:8443"


def test_files_are_the_parts_to_read_and_nobody_elses(tmp_path: Path) -> None:
    ours = Owner(ProcessIdentity(os.geteuid(), os.getegid()))
    ours.write(tmp_path / "mine", "x")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o600
    if os.geteuid() == 0:
        theirs = Owner(ProcessIdentity(61500, 61500))
        theirs.write(tmp_path / "theirs", "x")
        stat = (tmp_path / "theirs").stat()
        assert (stat.st_mode & 0o777, stat.st_uid, stat.st_gid) == (0o640, 0, 61500)
