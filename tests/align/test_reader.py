"""What the reader says of one trap each, beyond what real sidecars were asked."""

from __future__ import annotations

from typing import Any

import pytest

from meshward.align.istio.objects import read_object
from meshward.align.istio.request import PLAINTEXT, Client, TokenText
from meshward.align.istio.templates import template
from meshward.align.istio.view import judge
from tests.align.mesh import (
    BASE,
    CONFIG,
    DENY,
    EDGE,
    ISSUER,
    NOW,
    OTHER,
    OURS,
    RULE,
    STRICT,
    answer,
    jwt,
    keys,
    policy,
    request,
    security,
    sidecar,
    token,
)


def test_the_permitted_request_passes_through_our_objects() -> None:
    found = answer(BASE, request(token()))
    assert (found.permit, found.status) == (True, 200)
    assert [str(each) for each in found.through] == [
        "AuthorizationPolicy models/ours",
        "RequestAuthentication models/ours",
    ]


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"exp": NOW - 59}, 200),
        ({"exp": NOW - 61}, 401),
        ({"exp": None}, 200),
        ({"nbf": NOW + 59}, 200),
        ({"nbf": NOW + 61}, 401),
        ({"exp": "soon"}, 401),
        ({"iss": None}, 401),
        ({"iss": 7}, 401),
        ({"sub": None}, 403),
        ({"aud": None}, 403),
        ({"aud": ["https://mesh.test/", "minilm.infer"]}, 200),
        ({"aud": "minilm.infer"}, 403),
        ({"aud": 7}, 401),
    ],
)
def test_times_issuers_and_audiences(claims: dict[str, Any], status: int) -> None:
    assert answer(BASE, request(token(**claims))).status == status


def test_a_missing_token_passes_where_no_rule_asks_for_a_claim() -> None:
    open_rule = {**RULE, "when": [], "from": [{"source": {"principals": ["mesh.test/ns/edge/sa/nginx"]}}]}
    mesh = (STRICT, DENY, jwt("ours", OURS), policy("ours", open_rule))
    assert answer(mesh, request()).status == 200
    assert answer(mesh, request(token("rogue"))).status == 401


def test_two_tokens_must_both_be_good() -> None:
    good, bad = TokenText(token()), TokenText(token("rogue"))
    for pair in ((good, bad), (bad, good)):
        assert answer(BASE, request(headers={"txn-token": pair})).status == 401
    assert answer(BASE, request(headers={"txn-token": (good, good)})).status == 200


def test_a_key_of_ours_under_another_name_is_still_ours_and_another_under_our_name_is_not() -> None:
    unnamed = {**OURS, "jwks": keys("k1").replace('"kid": "k1"', '"kid": ""')}
    assert answer((STRICT, DENY, jwt("x", unnamed), policy("ours", RULE)), request(token())).status == 200
    stolen = {**OURS, "jwks": keys("rogue").replace('"kid": "rogue"', '"kid": "k1"')}
    assert answer((STRICT, DENY, jwt("x", stolen), policy("ours", RULE)), request(token())).status == 401


def test_a_second_authentication_with_our_issuer_makes_forged_tokens_good() -> None:
    forged = request(token("rogue"))
    assert answer(BASE, forged).status == 401
    found = answer((*BASE, jwt("x", {**OURS, "jwks": keys("rogue")})), forged)
    assert found.status == 200
    assert "RequestAuthentication models/x" in map(str, found.through)


def test_keys_that_are_fetched_leave_the_answer_open() -> None:
    fetched = {name: value for name, value in OURS.items() if name != "jwks"}
    for rule in (fetched, {**fetched, "jwksUri": "https://keys.example.com/"}):
        found = answer((STRICT, DENY, jwt("x", rule), policy("ours", RULE)), request(token()))
        assert (found.permit, found.status) == (None, "unknown")


def test_tokens_are_read_from_params_cookies_and_prefixed_headers() -> None:
    rule = {
        **OURS,
        "fromHeaders": [{"name": "X-T", "prefix": "T "}],
        "fromParams": ["t"],
        "fromCookies": ["c"],
    }
    mesh = (STRICT, DENY, jwt("x", rule), policy("ours", RULE))
    assert answer(mesh, request(params={"t": token()})).status == 200
    assert answer(mesh, request(cookies={"c": token()})).status == 200
    assert answer(mesh, request(headers={"x-t": (TokenText(token(), "T "),)})).status == 200
    assert answer(mesh, request(headers={"x-t": (TokenText(token()),)})).status == 403
    assert answer(mesh, request(token())).status == 403
    default = {name: value for name, value in OURS.items() if name != "fromHeaders"}
    mesh = (STRICT, DENY, jwt("x", default), policy("ours", RULE))
    assert answer(mesh, request(headers={"authorization": (TokenText(token(), "Bearer "),)})).status == 200
    assert answer(mesh, request(headers={"authorization": ("Bearer nonsense",)})).status == 401
    assert answer(mesh, request(headers={"authorization": ("Basic dTpw",)})).status == 403


def test_a_claim_is_matched_as_text_in_lists_and_words() -> None:
    def permits(key: str, value: str, **claims: Any) -> bool | None:
        rule = {"when": [{"key": f"request.auth.claims{key}", "values": [value]}]}
        return answer((STRICT, jwt("ours", OURS), policy("ours", rule)), request(token(**claims))).permit

    assert permits("[scope]", "b", scope="a b")
    assert not permits("[purpose]", "b", purpose="a b")
    assert permits("[roles]", "b", roles=["a", "b"])
    assert permits("[a][b]", "1", a={"b": "1"})
    assert not permits("[n]", "1", n=1)
    assert not permits("[b]", "true", b=True)
    assert permits("[a.b]", "x*", **{"a.b": "xyz"})
    assert permits("[roles]", "*", roles=["a"])
    assert not permits("[roles]", "*", roles=[])


def test_what_is_not_of_a_claim_admits_callers_without_a_token() -> None:
    rule = {"when": [{"key": "request.auth.claims[scope]", "notValues": ["banned"]}]}
    assert answer((*BASE, policy("x", rule)), request(spiffe=OTHER)).status == 200


def test_an_unknown_field_is_dropped_and_opens_the_rule() -> None:
    misspelled = {("form" if name == "from" else name): value for name, value in RULE.items()}
    assert read_object(policy("x", misspelled)).dropped == ("spec.rules[0].form",)
    assert answer((*BASE[:3], policy("ours", misspelled)), request(token(), spiffe=OTHER)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        policy("x", {"from": [{"source": {"principals": [7]}}]}),
        policy("x", {"from": [{"source": {"serviceAccounts": ["a"], "namespaces": ["b"]}}]}),
        policy("x", {"from": None}),
        policy("x", action="Allow"),
        policy("x", selector={"matchLabels": {"app": "a*"}}),
        policy("x", selector={"matchLabels": {}}, targetRefs=[{"kind": "Service", "name": "a"}]),
        policy("x", *({} for _ in range(513))),
        policy("x", {"when": [{"values": ["a"]}]}),
        jwt("x", {"issuer": ""}),
        jwt("x", {"jwks": "{}", "jwksUri": "https://a"}),
        jwt("x", {"jwksUri": "ftp://a"}),
        jwt("x", {"timeout": "0s"}),
        security("PeerAuthentication", "x", {"mtls": {"mode": "strict"}}),
        security("PeerAuthentication", "x", {"portLevelMtls": {"80": {"mode": "DISABLE"}}}),
    ],
)
def test_what_the_api_server_does_not_take_is_not_in_force(body: dict[str, Any]) -> None:
    assert read_object(body).refused
    assert answer((*BASE, body), request(token(), spiffe=OTHER)).status == 403


def test_a_value_that_cannot_be_compiled_closes_both_ways() -> None:
    bad = {"from": [{"source": {"ipBlocks": ["nowhere"]}}]}
    assert answer((STRICT, policy("x", bad)), request()).status == 403
    denied = {"from": [{"source": {"ipBlocks": ["nowhere"]}}], "to": [{"operation": {"paths": ["/embed"]}}]}
    assert answer((*BASE, policy("x", denied, action="DENY")), request(token())).status == 403


def test_an_address_that_is_not_known_leaves_the_answer_open() -> None:
    rule = {"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}
    assert answer((*BASE, policy("x", rule)), request(spiffe=OTHER)).permit is None
    assert answer((*BASE, policy("x", rule)), request(spiffe=OTHER, source_ip="10.1.2.3")).permit is True
    assert answer((*BASE, policy("x", rule)), request(spiffe=OTHER, source_ip="11.1.2.3")).permit is False


def test_aliases_let_another_trust_domain_in_under_our_names() -> None:
    foreign = EDGE.replace("mesh.test", "old.test")
    assert answer(BASE, request(token(), spiffe=foreign)).status == "refused"
    aliased = {**CONFIG, "trustDomainAliases": ["old.test"]}
    assert answer(BASE, request(token(), spiffe=foreign), config=aliased).status == 200


def test_custom_without_a_provider_denies_and_with_one_leaves_it_open() -> None:
    asks = policy(
        "x", {"to": [{"operation": {"paths": ["/embed"]}}]}, action="CUSTOM", provider={"name": "p"}
    )
    assert answer((*BASE, asks), request(token())).status == 403
    grpc = {"name": "p", "envoyExtAuthzGrpc": {"service": "authz.x", "port": 9000}}
    mesh = (*BASE, asks)
    config = {**CONFIG, "extensionProviders": [grpc]}
    assert answer(mesh, request(token()), config=config).status == 403  # no such service in this mesh


def test_permissive_and_exceptions_by_scope() -> None:
    def plain(*more: dict[str, Any], port: int = 8080, intercepted: bool = True) -> int | str:
        return answer((*BASE, *more), request(client=PLAINTEXT, port=port), intercepted=intercepted).status

    assert plain() == "refused"
    loose = {"mtls": {"mode": "PERMISSIVE"}}
    named = {"selector": {"matchLabels": {"app": "minilm"}}}
    assert plain(security("PeerAuthentication", "x", loose)) == 403
    assert plain(security("PeerAuthentication", "x", loose, "elsewhere")) == "refused"
    assert plain(security("PeerAuthentication", "x", {**loose, **named}, "istio-system")) == "refused"
    unset = security("PeerAuthentication", "x", {"mtls": {"mode": "UNSET"}, **named})
    assert plain(unset) == "refused"
    excepted = security("PeerAuthentication", "x", {**named, "portLevelMtls": {"9090": {"mode": "DISABLE"}}})
    assert (plain(excepted), plain(excepted, port=9090)) == ("refused", 403)
    # DISABLE takes no TLS at all; PERMISSIVE takes both, but only where traffic is intercepted
    assert answer((*BASE, excepted), request(token(), port=9090)).status == "refused"
    both = (*BASE, security("PeerAuthentication", "x", loose))
    assert answer(both, request(token())).status == 200
    assert answer(both, request(token()), intercepted=False).status == "refused"


def test_the_oldest_of_a_scope_wins_and_of_files_the_weaker() -> None:
    old, new = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
    strict, loose = ({"mtls": {"mode": mode}} for mode in ("STRICT", "PERMISSIVE"))
    for first, second, status in ((strict, loose, "refused"), (loose, strict, 403)):
        mesh = (
            *BASE,
            security("PeerAuthentication", "b", first, creationTimestamp=old),
            security("PeerAuthentication", "a", second, creationTimestamp=new),
        )
        assert answer(mesh, request(client=PLAINTEXT)).status == status
    mesh = (*BASE, security("PeerAuthentication", "a", strict), security("PeerAuthentication", "b", loose))
    assert answer(mesh, request(client=PLAINTEXT)).status == 403


@pytest.mark.parametrize(
    ("path", "normal", "merged", "decoded"),
    [
        ("/embed?x=1", 200, 200, 200),
        ("/x/../embed", 200, 200, 200),
        ("/x/%2e%2e/embed", 200, 200, 200),
        ("/%65mbed", 200, 200, 200),
        ("\\embed", 400, 400, 400),
        ("/x/..\\embed", 200, 200, 200),
        ("/./embed", 200, 200, 200),
        ("//embed", 403, 200, 200),
        ("/%2fembed", 403, 403, 200),
        ("/%5Cembed", 403, 403, 200),
        ("/embed/", 403, 403, 403),
        ("/embed;x", 403, 403, 403),
        ("/Embed", 403, 403, 403),
        ("/%2565mbed", 403, 403, 403),
        ("/embed#f", 400, 400, 400),
        ("/embed%00", 400, 400, 400),
    ],
)
def test_spellings_of_a_path(path: str, normal: int, merged: int, decoded: int) -> None:
    for name, status in (("BASE", normal), ("MERGE_SLASHES", merged), ("DECODE_AND_MERGE_SLASHES", decoded)):
        config = {**CONFIG, "pathNormalization": {"normalization": name}}
        assert answer(BASE, request(token(), path=path), config=config).status == status, name


def test_a_template_takes_escaped_slashes_and_parameters() -> None:
    rule = {**RULE, "to": [{"operation": {"paths": ["/v1/{*}", "/files/{**}"]}}]}
    mesh = (STRICT, DENY, jwt("ours", OURS), policy("ours", rule))
    paths = {"/v1/x%2fy": 200, "/v1/a;b": 200, "/v1/x/y": 403, "/v1/": 403, "/files/a/b": 200, "/files": 403}
    assert {path: answer(mesh, request(token(), path=path)).status for path in paths} == paths


@pytest.mark.parametrize(
    "path", ["/v1/{*}x/y", "/v1/{**}/{**}", "/v1/{**}/{*}", "{*}", "/a b/{*}", "/{*}x/{**}"]
)
def test_a_bad_template_ends_envoy(path: str) -> None:
    mesh = (*BASE, policy("x", {"to": [{"operation": {"paths": [path]}}]}))
    assert answer(mesh, request(token())).status == "refused"
    assert sidecar(*mesh).faults[0].ends


def test_bad_keys_and_empty_names_leave_an_older_configuration() -> None:
    empty = policy("x", {"when": [{"key": "request.headers[]", "values": ["1"]}]})
    for more in (jwt("x", {**OURS, "jwks": "not json"}), jwt("x", {**OURS, "jwks": '{"keys": [7]}'}), empty):
        found = answer((*BASE, more), request(token()))
        assert (found.permit, found.status) == (None, "unknown")


def _filter(**patch: Any) -> dict[str, Any]:
    body = security("EnvoyFilter", "x", {"configPatches": [patch]})
    return {**body, "apiVersion": "networking.istio.io/v1alpha3"}


def _manager(**config: Any) -> dict[str, Any]:
    listener = {"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager"}}}
    return _filter(
        applyTo="NETWORK_FILTER",
        match={"context": "SIDECAR_INBOUND", "listener": listener},
        patch={"operation": "MERGE", "value": {"typed_config": config}},
    )


def test_an_envoy_filter_refuses_escaped_slashes() -> None:
    rejecting = _manager(path_with_escaped_slashes_action="REJECT_REQUEST")
    assert answer((*BASE, rejecting), request(token(), path="/embed%2f")).status == 400
    assert answer((*BASE, rejecting), request(token(), path="//embed")).status == 403
    assert answer((*BASE, rejecting), request(token())).status == 200
    assert not sidecar(*BASE, rejecting).patched.unknown


def test_an_envoy_filter_of_any_other_meaning_is_not_known() -> None:
    for body in (
        _manager(strip_any_host_port=True),
        _filter(
            applyTo="HTTP_FILTER", match={}, patch={"operation": "INSERT_FIRST", "value": {"name": "lua"}}
        ),
        _filter(applyTo="LISTENER", patch={"operation": "REMOVE"}),
        _filter(),
    ):
        assert [str(ref) for ref, _ in sidecar(*BASE, body).patched.unknown] == ["EnvoyFilter models/x"]
    for body in (
        _filter(applyTo="CLUSTER", patch={"operation": "REMOVE"}),
        _filter(applyTo="LISTENER", match={"context": "GATEWAY"}, patch={"operation": "REMOVE"}),
    ):
        assert not sidecar(*BASE, body).patched.unknown


def test_a_header_that_a_provider_sets_is_not_the_clients() -> None:
    told = {
        **OURS,
        "outputPayloadToHeader": "x-claims",
        "outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}],
    }
    rule = {"when": [{"key": "request.headers[X-Sub]", "values": ["okta:1"]}]}
    mesh = (STRICT, jwt("ours", told), policy("ours", rule))
    assert answer(mesh, request(token())).status == 200
    assert answer(mesh, request(headers={"x-sub": ("okta:1",)})).status == 403


def test_a_port_that_is_not_http_keeps_connection_rules_alone() -> None:
    tcp = {"protocols": {9000: "tcp"}}
    assert answer(BASE, request(token(), port=9000), **tcp).status == 403
    loose = policy("x", {"from": [{"source": {"principals": ["mesh.test/ns/batch/*"]}}]})
    assert answer((*BASE, loose), request(port=9000, spiffe=OTHER), **tcp).status == 200


def test_who_has_no_certificate_of_the_mesh_is_refused() -> None:
    for client in (
        Client(None),
        Client(EDGE, trusted=False),
        Client("spiffe://mesh.test.evil/ns/edge/sa/nginx"),
    ):
        assert judge(sidecar(*BASE), request(token(), client=client)).status == "refused"


def test_a_prefix_of_the_issuer_is_an_issuer_of_its_own() -> None:
    longer = token(iss=f"{ISSUER}.evil")
    rule = {**OURS, "issuer": f"{ISSUER}.evil"}
    assert answer((*BASE, jwt("x", rule)), request(longer)).status == 403


@pytest.mark.parametrize(
    ("text", "path", "matches"),
    [
        ("/embed*", "/embed", True),  # `/embe`, and any number of `d`
        ("/embed*", "/embe", True),
        ("/emb*", "/embed", False),
        ("/v1.0/*", "/v1.0/a", True),
        ("/v1.0/*", "/v1x0/a", False),
        ("/em(b)ed/*", "/embed/x", False),
        ("/e*mbed/*", "/embed/x", True),
        ("/emb**", "/embed", False),  # no expression: nothing
        ("/a=b/*", "/a=b/c", True),
        ("/***", "/embed", False),
    ],
)
def test_no_star_that_stands_in_a_template_as_it_is_is_escaped(text: str, path: str, matches: bool) -> None:
    """As Envoy 1.40 answered."""
    found = template(text)
    assert found is not None
    assert (found.fullmatch(path) is not None) == matches


def test_a_policy_for_a_waypoint_or_gateway_is_in_force_at_no_sidecar() -> None:
    for target in ({"kind": "Service", "name": "minilm"}, {"kind": "Gateway", "name": "g"}):
        opened = policy("x", {}, targetRefs=[target])
        assert answer((*BASE, opened), request(spiffe=OTHER)).status == 403
    unguarded = (STRICT, policy("ours", targetRefs=[{"kind": "Service", "name": "minilm"}]))
    assert answer(unguarded, request(spiffe=OTHER)).status == 200
