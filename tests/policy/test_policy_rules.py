"""What no schema can say: each rule has a policy that breaks it alone."""

from __future__ import annotations

import copy

import pytest
from policy_texts import BASE, changed, read, refusal, refusals, without

VERSION = {"server": "tei", "url": "unix:/x.sock"}
OKTA = BASE["issuers"]["okta"]
GRANT = BASE["grants"][0]
ENTRA = {"profile": "entra", "audience": "a"}
COGNITO = {"profile": "cognito", "region": "eu-west-1", "user_pool": "eu-west-1_AbC", "clients": ["c"]}


def test_the_base_is_valid():
    assert refusals(BASE) == [] and read(BASE).lints == ()


TEST = {"as": {"issuer": "okta"}, "model": "minilm", "action": "infer", "expect": "denial"}


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        (("roles", "staff", 0, "issuer"), "nope", "issuer"),
        (("roles", "batch", 0, "workload"), "nope", "workload"),
        *(
            (("operators", right), ["nope"], "role")
            for right in ("apply", "traffic", "audit", "open", "erase")
        ),
        (("models", "minilm", "versions", "v1", "server"), "nope", "server kind"),
        (("models", "minilm", "versions", "v1", "credential"), "nope", "credential"),
        (("models", "minilm", "cache"), {"ttl": "1m", "share": "nope"}, "audience or attribute"),
        (("models", "minilm", "calls"), ["nope"], "model"),
        (("grants", 0, "roles"), ["nope"], "role"),
        (("grants", 0, "models"), ["nope"], "model"),
        (("grants", 0, "models"), {"same": ["nope"]}, "attribute"),
        (("grants", 0, "when"), {"via": ["nope"]}, "model"),
        (("grants", 0, "limits"), {"requests": "1/s", "per": "nope"}, "unit or attribute"),
        (("grants", 0, "limits"), {"requests": "1/s", "per": "everyone"}, "unit or attribute"),
        (("grants", 0, "on_request"), {"for": "2h", "approve": ["nope"]}, "role"),
        (("denies", 0), {"id": "d", "subjects": [{"issuer": "nope", "subject": "x"}]}, "issuer"),
        (("denies", 0), {"id": "d", "roles": ["nope"]}, "role"),
        (("denies", 0), {"id": "d", "models": ["nope"]}, "model"),
        (("denies", 0), {"id": "d", "when": {"via": ["nope"]}}, "model"),
        (("never", 0), {"id": "n", "roles": ["nope"], "models": "all"}, "role"),
        (("never", 0), {"id": "n", "roles": ["staff"], "models": ["nope"]}, "model"),
        (
            ("never", 0),
            {"id": "n", "roles": ["staff"], "models": "all", "unless": {"via": ["nope"]}},
            "model",
        ),
        (("agents", "helper", "credential"), {"workload": "nope"}, "workload"),
        (("agents", "helper", "credential"), {"issuer": "nope", "subject": "x"}, "issuer"),
        (("agents", "helper", "acts_for"), ["nope"], "role"),
        (("agents", "helper", "models"), ["nope"], "model"),
        (("agents", "helper", "limits"), {"requests": "1/s", "per": "nope"}, "unit or attribute"),
        (("tests", 0), dict(TEST, model="nope"), "model"),
        (("tests", 0), dict(TEST, via="nope"), "model"),
        (("tests", 0), {**TEST, "as": {"issuer": "nope"}}, "issuer"),
        (("tests", 0), {**TEST, "as": {"workload": "nope"}}, "workload"),
        (("tests", 0), {**TEST, "as": {"issuer": "okta", "actor": "nope"}}, "agent"),
        (("tests", 0), {**TEST, "as": {"issuer": "okta", "attributes": {"nope": "x"}}}, "attribute"),
    ],
)
def test_a_reference_to_nothing(path, value, kind):
    problem = refusal(changed(path, value))
    assert problem.code.number == "MW0020"
    assert f"the {kind} `" in problem.message and problem.where.line > 1


def test_a_reference_that_is_nearly_right_gets_a_remedy():
    assert refusal(changed(("grants", 0, "roles"), ["stafff"])).remedy == "Did you mean `staff`?"


def test_built_in_names_are_there():
    assert refusals(changed(("models", "minilm", "versions", "v1", "credential"), "generated")) == []
    for share in ("identity", "grant", "everyone", "tenant"):
        assert refusals(changed(("models", "minilm", "cache"), {"ttl": "1m", "share": share})) == []
    for per in ("identity", "grant", "tenant"):
        assert refusals(changed(("grants", 0, "limits"), {"requests": "1/s", "per": per})) == []


@pytest.mark.parametrize(
    ("path", "value", "code", "word"),
    [
        # names that mean two things, or are taken
        (("grants", 1), dict(GRANT), "MW0021", "given twice"),
        (("issuers", "again"), dict(OKTA), "MW0021", "`okta`"),
        (("workloads", "other"), {"id": "/ns/jobs/sa/scorer"}, "MW0021", "`scorer`"),
        (("models", "minilm", "aliases"), ["book"], "MW0021", "name of a model"),
        (("models", "minilm", "aliases"), ["minilm"], "MW0021", "name of a model"),
        (("models", "minilm", "aliases"), ["a", "a"], "MW0021", "alias of `minilm`"),
        (
            ("issuers", "workload"),
            dict(OKTA, issuer="https://x.example/oauth2/default"),
            "MW0028",
            "workloads",
        ),
        (("issuers", "okta", "attributes"), {"tenant": "/org", "identity": "x"}, "MW0028", "`per`"),
        (("credentials", "generated"), {"from": "env", "name": "X"}, "MW0028", "built in"),
        (("servers", "tei"), {"infer": ["POST /x"]}, "MW0028", "built-in"),
        (("workloads", "evil"), {"id": "/edge"}, "MW0028", "meshward itself"),
        (("workloads", "evil"), {"id": "/model/minilm"}, "MW0028", "meshward itself"),
        (("workloads", "evil"), {"id": "/a/../edge"}, "MW0015", "segment"),
        # routes and traffic
        (("servers", "own", "manage"), ["POST /ask"], "MW0022", "`infer`"),
        (("servers", "own", "infer"), ["POST /ask", "POST /ask"], "MW0022", "`infer`"),
        (("servers", "own", "health"), "GET /info", "MW0022", "`describe`"),
        (("servers", "own", "health"), "POST /health", "MW0022", "`GET`"),
        (("servers", "none"), {"health": "GET /health"}, "MW0027", "no route"),
        (("models", "minilm", "traffic"), {"v3": 1}, "MW0023", "not a version"),
        (("models", "minilm", "traffic"), {"v1": 0, "v2": 0}, "MW0023", "nothing"),
        (("models", "minilm", "traffic"), {}, "MW0023", "nothing"),
        # members, agents, the people of tests
        (("roles", "staff", 0), {}, "MW0024", "asks nothing"),
        (("roles", "staff", 0), {"issuer": "okta"}, "MW0024", "asks nothing"),
        (("roles", "staff", 0), {"until": "2027-01-01"}, "MW0024", "asks nothing"),
        (("roles", "staff", 0), {"group": "staff"}, "MW0024", "whose"),
        (("roles", "staff", 0), {"workload": "scorer", "subject": "x"}, "MW0024", "whose"),
        (("agents", "helper", "credential"), {}, "MW0024", "who the agent is"),
        (("agents", "helper", "credential"), {"issuer": "okta"}, "MW0024", "who the agent is"),
        (
            ("agents", "helper", "credential"),
            {"workload": "scorer", "subject": "x"},
            "MW0024",
            "who the agent is",
        ),
        (("tests", 0), {**TEST, "as": {}}, "MW0024", "nobody"),
        (("tests", 0), {**TEST, "as": {"workload": "scorer", "groups": ["x"]}}, "MW0024", "no issuer"),
        # issuers
        (("issuers", "aws"), {k: v for k, v in COGNITO.items() if k != "clients"}, "MW0025", "`clients`"),
        (("issuers", "aws"), dict(COGNITO, clients=[]), "MW0025", "`clients`"),
        (("issuers", "aws"), dict(COGNITO, issuer="https://x.example"), "MW0025", "means nothing"),
        (("issuers", "aws"), dict(COGNITO, user_pool="eu-west-2_AbC"), "MW0025", "region"),
        (("issuers", "ci"), {"profile": "github-actions"}, "MW0025", "`audience`"),
        (("issuers", "x"), {"profile": "oidc", "issuer": "https://x.example"}, "MW0025", "`audience`"),
        (("issuers", "x"), {"profile": "keycloak", "audience": "a"}, "MW0025", "`issuer`"),
        (("issuers", "x"), {"profile": "entra", "audience": "a"}, "MW0025", "`issuer`"),
        (("issuers", "x"), {"profile": "kubernetes", "audience": "a"}, "MW0025", "`issuer`"),
        (("issuers", "okta", "region"), "eu-west-1", "MW0025", "means nothing"),
        (("issuers", "okta", "jwks"), {"url": "https://x.example/k", "file": "k"}, "MW0025", "both"),
        (("issuers", "okta", "issuer"), "https://example.okta.com", "MW0015", "org server"),
        (("issuers", "okta", "issuer"), "https://example.okta.com/oauth2", "MW0015", "org server"),
        (
            ("issuers", "x"),
            ENTRA | {"issuer": "https://login.microsoftonline.com/common/v2.0"},
            "MW0015",
            "tenant",
        ),
        (("issuers", "okta", "issuer"), "http://x.example/oauth2/default", "MW0015", "no TLS"),
        (("issuers", "okta", "issuer"), "http://127.0.0.1:1/oauth2/default", "MW0015", "no TLS"),
        (("issuers", "okta", "issuer"), "https://169.254.169.254/oauth2/default", "MW0015", "metadata"),
        (("issuers", "okta", "issuer"), "https://10.0.0.1/oauth2/default", "MW0015", "private"),
        (("issuers", "okta", "jwks"), {"url": "http://x.example/k", "allow": ["http"]}, "MW0015", "no TLS"),
        (
            ("issuers", "okta", "jwks"),
            {"url": "https://[fe80::1]/k", "allow": ["private"]},
            "MW0015",
            "metadata",
        ),
        (("issuers", "okta", "attributes"), {"tenant": "/a~2"}, "MW0015", "JSON pointer"),
        # where secrets are kept
        (("credentials", "hf"), {"from": "env"}, "MW0026", "`name`"),
        (("credentials", "hf"), {"from": "file"}, "MW0026", "`path`"),
        (("credentials", "hf"), {"from": "command"}, "MW0026", "`command`"),
        (("credentials", "hf"), {"from": "env", "name": "X", "path": "y"}, "MW0026", "means nothing"),
        (("edge", "certificate"), {"from": "files"}, "MW0026", "`path`"),
        (("edge", "certificate"), {"path": "x"}, "MW0026", "`path`"),
        # parts that say nothing
        (("denies", 0), {"id": "d"}, "MW0027", "everything"),
        (("denies", 0), {"id": "d", "expires": "2027-01-01", "mode": "shadow"}, "MW0027", "everything"),
        (("grants", 0, "models"), {}, "MW0027", "selects nothing"),
        (("grants", 0, "when"), {}, "MW0027", "no condition"),
        (("grants", 0, "limits"), {"per": "grant"}, "MW0027", "limits nothing"),
        (("agents", "helper", "limits"), {}, "MW0027", "limits nothing"),
        # sealing
        (("audit", "capture"), "sealed", "MW0029", "nobody"),
        (("models", "minilm", "audit"), {"capture": "sealed"}, "MW0029", "nobody"),
    ],
)
def test_a_rule_is_broken(path, value, code, word):
    problem = refusal(changed(path, value))
    assert problem.code.number == code, problem
    assert word in f"{problem.message} {problem.remedy}", problem
    assert problem.remedy and problem.where.line > 1


def test_a_trust_domain_that_is_a_permission():
    """It is an audience of every token: each would open that action of that model."""
    policy = changed(("trust_domain",), "minilm.infer")
    assert refusal(policy).code.number == "MW0021"
    for other in ("minilm.infers", "book.minilm", "infer", "other.infer", "minilm.infer.test"):
        assert refusals(changed(("trust_domain",), other)) == []


def test_two_models_with_one_alias():
    policy = changed(("models", "minilm", "aliases"), ["Org/x"])
    policy["models"]["book"]["aliases"] = ["Org/x"]
    assert refusal(policy).code.number == "MW0021"


def test_ids_are_unique_within_their_kind_only():
    policy = changed(("denies", 0), {"id": "g", "roles": ["staff"]})
    assert refusals(policy) == []
    policy["denies"] *= 2
    assert refusal(policy).code.number == "MW0021"
    law = {"id": "n", "roles": ["staff"], "models": ["book"], "actions": ["manage"]}
    assert refusal(changed(("never",), [law, law])).code.number == "MW0021"


def test_versions_of_a_model_agree_about_routes():
    policy = changed(("servers", "odd"), {"infer": ["POST /x"], "manage": ["POST /embed"]})
    assert refusals(policy) == []
    policy["models"]["minilm"]["versions"]["v2"]["server"] = "odd"
    problem = refusal(policy)
    assert problem.code.number == "MW0022" and "`POST /embed`" in problem.message


def test_no_two_versions_share_a_dns_name(monkeypatch):
    from meshward.policy.rules import models

    monkeypatch.setattr(models, "dns_label", lambda name: name[:1])
    problem = refusal(BASE)
    assert problem.code.number == "MW0030" and "`minilm.v1`" in problem.message


def test_an_issuer_may_be_on_this_machine_if_that_is_said():
    for url in ("http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"):
        policy = changed(("issuers", "okta", "issuer"), f"{url}/oauth2/default")
        policy["issuers"]["okta"]["jwks"] = {"allow": ["http"]}
        assert refusals(policy) == []
    policy = changed(("issuers", "okta", "issuer"), "https://10.0.0.1/oauth2/default")
    policy["issuers"]["okta"]["jwks"] = {"allow": ["private"]}
    assert refusals(policy) == []


def test_cognito_needs_neither_issuer_nor_audience():
    assert refusals(changed(("issuers", "aws"), COGNITO)) == []


def test_sealing_needs_a_key():
    policy = changed(("audit", "capture"), "sealed")
    policy["audit"]["seal_to"] = ["keys/auditor.pub"]
    assert refusals(policy) == []


def test_deleting_a_section_names_what_it_leaves_hanging():
    for section, code in (
        ("issuers", "MW0020"),
        ("workloads", "MW0020"),
        ("roles", "MW0020"),
        ("servers", "MW0020"),
    ):
        assert {problem.code.number for problem in refusals(without((section,)))} == {code}


@pytest.mark.parametrize(
    ("url", "replicas", "place"),
    [
        ("unix:/x.sock", ["unix:/y.sock", "unix:/x.sock"], 1),
        ("http://127.0.0.1:80", ["http://localhost"], 0),
        ("http://127.0.0.1:8083", ["http://127.0.0.1:8084", "http://127.0.0.1:8084/"], 1),
        ("http://[::1]:8083", ["http://[0:0:0:0:0:0:0:1]:8083"], 0),
    ],
)
def test_no_version_lists_a_server_twice(url, replicas, place):
    version = {"server": "tei", "url": url, "replicas": replicas}
    found = refusal(changed(("models", "minilm", "versions", "v1"), version))
    assert found.code.number == "MW0031" and replicas[place] in found.message


def test_at_most_sixteen_replicas():
    several = [f"http://127.0.0.1:{port}" for port in range(9001, 9018)]
    version = {"server": "tei", "url": "unix:/x.sock", "replicas": several}
    policy = changed(("models", "minilm", "versions", "v1"), version)
    assert refusal(policy).code.number == "MW0016"
    assert (
        refusals(changed(("models", "minilm", "versions", "v1"), version | {"replicas": several[:16]})) == []
    )


@pytest.mark.parametrize(
    ("url", "lints"),
    [
        ("http://10.0.0.7:8000", 1),
        ("http://127.0.0.1:8000", 0),
        ("http://[::1]:8000", 0),
        ("unix:/x.sock", 0),
    ],
)
def test_a_secret_in_clear_on_a_network_is_a_lint(url, lints):
    version = {"server": "tei", "url": "unix:/y.sock", "replicas": [url], "credential": "generated"}
    read_ = read(changed(("models", "minilm", "versions", "v1"), version))
    assert [lint.code.number for lint in read_.lints] == ["MW0051"] * lints


def test_a_law_about_nothing_is_a_lint():
    law = {"id": "n", "roles": ["staff"], "models": {"labels": {"data": "intrenal"}}}
    (lint,) = read(changed(("never", 0), law)).lints
    assert (lint.code.number, lint.severity) == ("MW0050", "lint")


def test_dates_that_are_past_are_no_errors():
    policy = copy.deepcopy(changed(("grants", 0, "expires"), "1999-12-31"))
    policy["roles"]["staff"][0]["until"] = "1999-12-31"
    assert refusals(policy) == []
