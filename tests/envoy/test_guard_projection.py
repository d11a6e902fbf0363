"""What a guard's projection holds of a plan, and what it refuses to render."""

from __future__ import annotations

import dataclasses
import json
from types import MappingProxyType
from typing import Any, cast

import pytest
from guard_harness import view
from guard_pki import Authority, Signer

from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.plan.features import ON_PATHS, Can, Cannot, Feature, NotYet
from meshward.plan.ir import (
    CachePolicy,
    Condition,
    Edge,
    Grant,
    Limits,
    Model,
    OnRequest,
    Plan,
    Selector,
    Version,
)
from meshward.policy.schema import Action
from meshward.policy.urls import UnixSocket
from meshward.policy.values import Rate, Route
from meshward.targets.envoy.capabilities import CAPABILITIES
from meshward.targets.envoy.files import GuardFiles, GuardIdentity, command, render
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardedRoute, GuardPart, Net, guard_view
from meshward.targets.envoy.readback import GuardReport, differences, read_report
from meshward.targets.envoy.rules import route_configuration
from meshward.targets.envoy.tokens import token_keys


def version(name: str, **changes: Any) -> Version:
    plain = Version(
        name=name,
        server="own",
        url=UnixSocket(f"/run/{name}.sock"),
        weight=1,
        routes=MappingProxyType({Route("POST", "/ask"): "infer", Route("GET", "/info"): "describe"}),
        health=Route("GET", "/health"),
        credential=None,
        upstream_model=None,
        dns_name=f"{name}.m.td.test",
    )
    return dataclasses.replace(plain, **changes)


def grant(name: str, models: set[str], requests: Rate | None = None, **changes: Any) -> Grant:
    limits = Limits(requests, None, None, "identity") if requests else None
    plain = Grant(
        name, ("r",), Selector(frozenset(models), ()), frozenset({"infer"}), None, limits, None, None, False
    )
    return dataclasses.replace(plain, **changes)


def plan(*grants: Grant) -> Plan:
    cache: CachePolicy | None = None
    model = Model(
        "m", None, {}, (), (version("v1"), version("v2")), 60, 3600, 1000, "finish", "digest", cache, ()
    )
    none = MappingProxyType[str, Any]({})
    return Plan(
        trust_domain="td.test",
        edge=Edge("127.0.0.1", 8443, "edge.test", None, ()),
        issuers=none,
        workloads=none,
        roles=none,
        operators=none,
        models={"m": model},
        aliases={},
        grants=grants,
        denies=(),
        never=(),
        agents={},
        audit=cast(Any, None),
        digest="d",
    )


def test_a_version_is_projected_with_its_own_parts() -> None:
    projected = guard_view(plan(grant("g", {"m"}, Rate(60, 60))), GuardPart("m", "v2"))
    assert projected.dns_name == "v2.m.td.test"
    assert projected.upstream == "unix:/run/v2.sock"
    assert projected.issuer == "https://edge.test"
    assert projected.spiffe_id == "spiffe://td.test/model/m"
    assert projected.callers == ("spiffe://td.test/edge",)
    assert projected.routes == (GuardedRoute("POST", "/ask", "m.infer"),)
    assert projected.nets == (Net("g", 120, 60),)


def test_what_no_grant_gives_has_no_route() -> None:
    """A shadow grant gives nothing; one on request, one that a model must call for, and one that has ended, may."""
    both = frozenset[Action]({"infer", "describe"})

    def routes(*grants: Grant) -> list[str]:
        return [route.permission for route in guard_view(plan(*grants), GuardPart("m", "v1")).routes]

    assert routes() == routes(grant("g", {"n"}, actions=both)) == []
    assert routes(grant("g", {"m"}, actions=both, shadow=True)) == []
    assert routes(grant("g", {"m"})) == ["m.infer"]
    assert routes(grant("g", {"m"}, on_request=OnRequest(60, (), ()))) == ["m.infer"]
    via = Condition(None, None, None, ("other",), None, None)
    assert routes(grant("g", {"m"}, when=via), grant("h", {"m"}, expires=1)) == ["m.infer"]
    assert routes(grant("g", {"m"}), grant("h", {"m"}, actions=both)) == ["m.describe", "m.infer"]


def test_a_grant_that_comes_or_goes_leaves_what_verifies_tokens() -> None:
    """Another filter there would forget every token that was verified before."""
    keys = (Signer().jwk,)
    plans = plan(), plan(grant("g", {"m"})), plan(grant("h", {"m"}, actions=frozenset({"infer", "observe"})))
    made = [token_keys(guard_view(each, GuardPart("m", "v1")), keys, 10) for each in plans]
    assert made[0] == made[1] == made[2]


def test_only_what_concerns_this_model_and_is_enforced_is_in_it() -> None:
    """A guard whose part did not change must not change: other models' grants leave no trace."""
    rate = Rate(1, 1)
    some = plan(grant("free", {"m"}), grant("other", {"n"}, rate), grant("shadow", {"m"}, rate, shadow=True))
    assert guard_view(some, GuardPart("m", "v1")) == guard_view(plan(grant("g", {"m"})), GuardPart("m", "v1"))


def test_health_is_asked_only_where_there_is_something_to_choose() -> None:
    two, no_route = (
        guard_view(plan(), GuardPart("m", "v1")),
        version("v1", health=None, replicas=(UnixSocket("/r.sock"),)),
    )
    assert two.health == "/health" and two.upstreams == ("unix:/run/v1.sock",)
    for versions, health, servers in (
        ((version("v1"),), None, 1),
        ((version("v1", replicas=(UnixSocket("/r.sock"),)),), "/health", 2),
        ((no_route, version("v2")), None, 2),
    ):
        models = {"m": dataclasses.replace(plan().models["m"], versions=versions)}
        projected = guard_view(dataclasses.replace(plan(), models=models), GuardPart("m", "v1"))
        assert (projected.health, len(projected.upstreams)) == (health, servers)


def test_one_server_without_alternative_is_rendered_as_plainly_as_ever() -> None:
    cluster = json.loads(rendered().xds["cds"])["resources"][0]
    assert not {"health_checks", "outlier_detection", "lb_policy", "common_lb_config"} & cluster.keys()


def test_an_unknown_version_is_an_error() -> None:
    with pytest.raises(KeyError):
        guard_view(plan(), GuardPart("m", "v3"))


def rendered(upstream: str = "unix:/run/m.sock", directory: str = "/run/g", **changes: Any) -> GuardFiles:
    authority = Authority()
    own = authority.issue("spiffe://td.test/model/m.1")
    keys = changes.pop("token_keys", (Signer().jwk,))
    identity = GuardIdentity(own.chain, Secret(own.key), authority.bundle, keys)
    return render(view(upstream, **changes), GuardSettings(directory), identity)


@pytest.mark.parametrize(
    "url",
    [
        "https://abc.example.com",
        "http://model.internal:80",
        "http://127.0.0.1",
        "http://127.0.0.1:99999",
        "ftp://127.0.0.1:1",
        "unix:run/m.sock",
        "http://127.0.0.1:80/base",
        "http://user@127.0.0.1:80",
        "http://127.0.0.1:80?x",
        "",
        "unix:/" + "x" * 120,
        "http://127.0.0.1:0",
        "http://127.0.0.1:8\u0660",
        "http://999.0.0.1:80",
        "http://127.0.0.1:80/\n",
    ],
)
def test_an_upstream_that_a_guard_cannot_reach_is_refused(url: str) -> None:
    with pytest.raises(MeshwardError) as caught:
        rendered(upstream=url)
    assert caught.value.code.number == "MW1301"
    assert caught.value.remedy


def test_upstreams_that_a_guard_can_reach() -> None:
    for url, address in {
        "http://localhost:8080": {"address": "127.0.0.1", "port_value": 8080},
        "http://127.0.0.1:1/": {"address": "127.0.0.1", "port_value": 1},
        "http://[::1]:65535": {"address": "::1", "port_value": 65535},
    }.items():
        (cluster,) = json.loads(rendered(upstream=url).xds["cds"])["resources"]
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        assert endpoint["endpoint"]["address"] == {"socket_address": address}


@pytest.mark.parametrize(
    "spoil",
    [{"alg": None}, {"alg": "RS256"}, {"kty": "oct"}, {"crv": "P-384"}, {"kid": None}, {"x": None}],
)
def test_a_key_that_would_accept_more_is_refused(spoil: dict[str, str | None]) -> None:
    key = {name: value for name, value in (Signer().jwk | spoil).items() if value is not None}
    with pytest.raises(MeshwardError, match="ES256"):
        rendered(token_keys=(key,))


def test_no_keys_at_all_are_refused() -> None:
    with pytest.raises(MeshwardError, match="key"):
        rendered(token_keys=())


def test_a_private_key_never_reaches_the_token_keys() -> None:
    files = rendered(token_keys=({**Signer().jwk, "d": "PRIVATE-PART"},))
    assert b"PRIVATE-PART" not in files.xds["ecds-jwt"] + files.twin


def test_what_holds_the_private_key_prints_nothing() -> None:
    assert "PRIVATE KEY" not in repr(rendered())


def test_a_directory_too_deep_for_a_socket_is_refused() -> None:
    for directory in ("/" + "x" * 100, "run/g", ""):
        with pytest.raises(MeshwardError, match="socket"):
            rendered(directory=directory)


def test_the_same_content_has_the_same_version_and_another_another() -> None:
    authority = Authority()
    own = authority.issue("spiffe://td.test/model/m.1")
    identity = GuardIdentity(own.chain, Secret(own.key), authority.bundle, (Signer().jwk,))
    settings = GuardSettings("/run/g")
    first, second = (render(view("unix:/m"), settings, identity) for _ in range(2))
    other = render(view("unix:/n", routes=()), settings, identity)
    assert first == second
    changed = {name for name in first.versions if first.versions[name] != other.versions[name]}
    assert changed == {"rds", "cds"}
    assert first.bootstrap == other.bootstrap
    assert json.loads(first.xds["rds"])["version_info"] == first.versions["rds"]


def test_hostile_text_stays_data() -> None:
    """Routes come from the policy's text; whatever stands there is one JSON string, matched exactly."""
    path = '/a"}],"x":%REQ(authorization)%${x}\\'
    files = rendered(routes=(GuardedRoute("GET", path, "m.1.infer"),))
    (resource,) = json.loads(files.xds["rds"])["resources"]
    routes = resource["virtual_hosts"][0]["routes"]
    assert [each["match"]["path"] for each in routes] == [path, path]


def test_no_route_has_envoys_own_limit_of_15_seconds() -> None:
    """It cuts a stream in the middle and logs 200; what a route has is the model's limits of silence and of length."""
    (resource,) = json.loads(rendered().xds["rds"])["resources"]
    routes = [route["route"] for route in resource["virtual_hosts"][0]["routes"]]
    assert {(route["timeout"], route["idle_timeout"]) for route in routes} == {("3600s", "30s")}


def test_an_old_connection_is_told_to_close_and_not_cut() -> None:
    bootstrap = json.loads(rendered().bootstrap)
    (chain,) = bootstrap["static_resources"]["listeners"][0]["filter_chains"]
    assert chain["filters"][-1]["typed_config"]["http1_safe_max_connection_duration"] is True


def test_the_command_refuses_unknown_fields() -> None:
    assert "--reject-unknown-dynamic-fields" in command("envoy", "/run/g")


GOOD = GuardReport({"rds": "d"}, {"rds": "d"}, {"http.guard.rds.guard.update_rejected": 1})


@pytest.mark.parametrize(
    ("now", "live"),
    [
        (GOOD, True),
        (dataclasses.replace(GOOD, announced={"rds": "old"}), False),
        (dataclasses.replace(GOOD, loaded={"rds": "old"}), False),
        (dataclasses.replace(GOOD, loaded={}), False),
        (dataclasses.replace(GOOD, refused={"http.guard.rds.guard.update_rejected": 2}), False),
        (dataclasses.replace(GOOD, refused={**GOOD.refused, "server.dynamic_unknown_fields": 1}), False),
    ],
)
def test_live_is_only_what_both_signs_say_without_a_refusal(now: GuardReport, live: bool) -> None:
    assert (not differences({"rds": "d"}, now, GOOD)) == live
    assert differences({"rds": "d"}, GOOD), (
        "a refusal since the start counts where nothing is known of before"
    )


DEEP = ["[" * 200_000, '{"configs": ' + '[{"version_info": ' * 50_000]


@pytest.mark.parametrize(
    "dump",
    ["<html>", "[]", "null", '{"configs": 1}', '{"configs": [1]}', '{"configs": {"a": 1}}', *DEEP],
)
def test_an_answer_that_is_not_envoys_is_an_error(dump: str) -> None:
    with pytest.raises(ValueError):
        read_report("", {"ecds_filters": dump})


@pytest.mark.parametrize("count", ["-1", "x", "1.5", "9" * 5000, "\u0661"])
def test_a_refusal_that_is_no_count_is_an_error(count: str) -> None:
    with pytest.raises(ValueError):
        read_report(f"http.guard.rds.guard.update_rejected: {count}", {})


def test_what_a_guard_says_of_itself_steers_no_terminal_and_fills_no_log() -> None:
    """It is quoted in errors, and kept with the revision."""
    names = {f"\x1b[2J{number}.update_rejected": 2**63 for number in range(10_000)}
    said = differences({"rds": "d"}, GuardReport({"rds": "\x1b[31m" * 100_000}, {"rds": "d" * 10**6}, names))
    assert "\x1b" not in "".join(said) and len("".join(said)) < 2000


def test_every_capability_says_how_or_why() -> None:
    assert set(CAPABILITIES) == set(ON_PATHS)
    assert {type(each) for each in CAPABILITIES.values()} == {Can, Cannot, NotYet}


def test_what_the_table_claims_of_revocations_is_what_the_rules_say() -> None:
    rules = str(route_configuration(guard_view(plan(), GuardPart("m", "v1", ["okta:eve"], ["bot"])), 10))
    named = {
        Feature.REVOKED_SUBJECT: "okta:eve" in rules,
        Feature.REVOKED_AGENT: "/agent/bot" in rules,
        Feature.REVOKED_TOKEN: "jti" in rules,
    }
    assert named == {feature: isinstance(CAPABILITIES[feature], Can) for feature in named}
