"""Every further row of the support matrix: a policy that asks for it, and a request under it.

A path that does not enforce a row refuses such a policy, by the code that `asks` names. Where a request can show that a
row is enforced, it does; of the others (`everything-at-once`) it shows that what is asked for hinders nobody.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.conformance.cases.common import (
    RULES_SMALL,
    SITE,
    case,
    client,
    deny,
    get,
    inside,
    permit,
    person,
    policy,
    token,
)
from tests.conformance.format import Case, Otherwise
from tests.conformance.suite import topic

_TENANT = person("ann", "science", tenant="acme")


def _changed(path: str, value: Any) -> dict[str, Any]:
    """The small policy with another value at `path`; a number is a place in a list."""
    text = deepcopy(RULES_SMALL)
    *steps, last = path.split("/")
    node: Any = text
    for step in steps:
        node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
    node[last] = value
    return text


def _version(name: str, **more: Any) -> dict[str, Any]:
    return {"server": "plain", "url": f"unix:/run/models/{name}.sock", **more}


_WORLD = policy()
_WORLD["credentials"] = {"key": {"from": "env", "name": "KEY"}}
_WORLD["models"] |= {
    "two": {
        "labels": {"data": "public"},
        "versions": {"v1": _version("two-v1"), "v2": _version("two-v2")},
        "traffic": {"v1": 0, "v2": 100},
    },
    "keyed": {"labels": {"data": "public"}, "versions": {"v1": _version("keyed", credential="key")}},
    "told": {"labels": {"data": "public"}, "versions": {"v1": _version("told", **{"pass": ["subject"]})}},
    "small": {"labels": {"data": "public"}, "versions": {"v1": _version("small")}, "max_body": "1k"},
    "cut": {"labels": {"data": "public"}, "versions": {"v1": _version("cut")}, "on_expiry": "cut"},
    "chat": {
        "labels": {"data": "public"},
        "aliases": ["Qwen/Qwen3-8B"],
        "timeout": "2m",
        "versions": {"v1": {"server": "vllm", "url": "unix:/run/models/chat.sock"}},
    },
    "renamed": {
        "labels": {"data": "public"},
        "versions": {
            "v1": {"server": "vllm", "url": "unix:/run/models/renamed.sock", "model": "its/own-name"}
        },
    },
    "many": {
        "labels": {"data": "public"},
        "versions": {"v1": _version("many", replicas=["unix:/run/models/many-2.sock"])},
    },
}
_WORLD["grants"] = [
    {
        "id": "counted",
        "roles": ["platform"],
        "models": ["minilm"],
        "actions": ["observe"],
        "limits": {"requests": "1/min"},
    },
    *_WORLD["grants"],
]
_SITE = deepcopy(SITE)
_SITE["models"] |= {
    name: {
        version: {
            "namespace": "models",
            "service": f"{name}-{version}",
            "port": 8080,
            "select": {"app": name, "version": version},
            "service_account": f"{name}-{version}",
        }
        for version in entry["versions"]
    }
    for name, entry in _WORLD["models"].items()
    if name not in SITE["models"]
}
_GRANT_LIMITS = "grants/0/limits"
_ASKING: list[tuple[str, str, dict[str, Any]]] = [
    ("request ledger", "Requests per day are counted.", _changed(_GRANT_LIMITS, {"requests": "600/day"})),
    (
        "token budget",
        "Prompt and answer tokens are counted.",
        _changed(_GRANT_LIMITS, {"tokens": "200000/day"}),
    ),
    ("concurrency", "Requests at once are counted.", _changed(_GRANT_LIMITS, {"concurrent": 4})),
    (
        "shared limit",
        "Callers with one attribute are counted together.",
        _changed(_GRANT_LIMITS, {"requests": "600/min", "per": "tenant"}),
    ),
    (
        "https upstream",
        "A server may be behind https.",
        _changed("models/minilm/versions/v1/url", "https://10.0.0.7"),
    ),
    (
        "hosted endpoint",
        "A model may be a hosted endpoint.",
        _changed(
            "models/hosted",
            {
                "labels": {"data": "public"},
                "versions": {
                    "r1": {
                        "server": "inference-endpoint",
                        "url": "https://abc.eu-west-1.aws.endpoints.huggingface.cloud",
                    }
                },
            },
        ),
    ),
    (
        "cache",
        "Answers may be used again.",
        _changed("models/minilm/cache", {"ttl": "10m", "share": "identity"}),
    ),
    ("capture", "Texts may be kept.", _changed("models/minilm/audit", {"capture": "capture"})),
    ("max blind", "How long records may fail may be said.", _changed("audit", {"max_blind": "30s"})),
    ("alert when blind", "Requests may pass unrecorded.", _changed("audit", {"on_blind": "alert"})),
]


def _asks(row: str, about: str) -> Case:
    key = row.replace(" ", "-")
    return case(key, about, (client(_TENANT), permit("science")), policy=key, covers=[row])


_PROXIED = _changed("grants/0/when", {"from": ["127.0.5.0/24"]}) | {
    "edge": {"hostname": "models.test", "trusted_proxies": ["127.0.0.1"]}
}
CASES = [
    case(
        "everything-at-once",
        "What is asked for beside access hinders nobody who has it.",
        (client(), permit("science")),
        (client(model="cut"), permit("science")),
        (client(model="many"), permit("science")),
        policy="all",
        site="larger",
        covers=[
            "next hop",
            "log",
            "body digests",
            "block when blind",
            "rotation",
            "replicas",
            "expired stream",
            "revoked stream",
            "edge certificate",
        ],
    ),
    case(
        "a-patient-model",
        "A model may take its time, and says when it cannot work.",
        (client(model="chat", target="/v1/completions", body={"model": "chat"}), permit("science")),
        policy="all",
        site="larger",
        covers=["timeout", "health"],
    ),
    case(
        "the-other-host",
        "The edge answers under its own name, and under no other.",
        (client(), permit("science")),
        (client(headers=[("Host", "other.test")]), deny("edge", "host_unknown")),
        policy="all",
        site="larger",
        covers=["listener"],
    ),
    case(
        "the-weights",
        "A version without weight gets nothing.",
        *((client(model="two"), permit("science", version="v2")) for _ in range(3)),
        policy="all",
        site="larger",
        covers=["weights"],
    ),
    case(
        "the-servers-key",
        "The server gets its own key, and no caller's token.",
        (client(model="keyed"), permit("science", sees={"Authorization": "Bearer secret of key"})),
        policy="all",
        site="larger",
        covers=["server credential"],
    ),
    case(
        "the-subject-is-passed",
        "A server that asks for it is told who asks, whatever a client says; no other server is.",
        (
            client(model="told", headers=[("X-Meshward-Subject", "staff:root")]),
            permit("science", sees={"X-Meshward-Subject": "staff:ann"}),
        ),
        (
            client(headers=[("X-Meshward-Subject", "staff:root")]),
            permit("science", sees={"X-Meshward-Subject": None}),
        ),
        policy="all",
        site="larger",
        covers=["passed subject", "identity headers"],
    ),
    case(
        "the-body-is-too-large",
        "A body over the model's limit goes nowhere; under it, it does.",
        (client(model="small", body="x" * 500), permit("science")),
        (client(model="small", body="x" * 2000), deny("edge", "body_too_large")),
        policy="all",
        site="larger",
        covers=["max body"],
    ),
    case(
        "the-body-names-the-model",
        "By /v1 the one `model` of the body says which, by name or alias.",
        (_v1 := client(model=None, target="/v1/chat/completions", body={"model": "chat"}), permit("science")),
        (_v1.model_copy(update={"body": {"model": "Qwen/Qwen3-8B"}}), permit("science")),
        (_v1.model_copy(update={"body": {"model": "nothing"}}), deny("decision", "model_unknown")),
        (_v1.model_copy(update={"body": {"messages": []}}), deny("edge", "body_model_missing")),
        policy="all",
        site="larger",
        covers=["body routing"],
    ),
    case(
        "the-servers-own-name",
        "A body must name its own model; its server reads its own name for it.",
        (
            client(model="renamed", target="/v1/chat/completions", body={"model": "renamed"}),
            permit("science"),
        ),
        (
            client(model="renamed", target="/v1/chat/completions", body={"model": "chat"}),
            deny("edge", "body_model_other"),
        ),
        policy="all",
        site="larger",
        covers=["body model"],
    ),
    case(
        "the-rate",
        "Requests over a grant's rate are refused; another grant is not concerned.",
        (get(person("petra", "platform"), "/metrics"), permit("counted")),
        (get(person("petra", "platform"), "/metrics"), deny("edge", "rate_limited")),
        (client(person("petra", "platform")), permit("all")),
        policy="all",
        site="larger",
        covers=["request rate"],
    ),
    case(
        "a-token-of-long-life",
        "A Transaction Token that is good for ten minutes is none of ours; a mesh's proxy asks not how long.",
        (
            inside(token(times={"exp": 600})),
            deny("guard", where={"takes-long-tokens": Otherwise(decision="permit")}),
        ),
        covers=["token age"],
    ),
    case(
        "a-proxy-before-the-edge",
        "What a listed proxy says of the client's address counts; what the client says does not.",
        (client(headers=[("X-Forwarded-For", "127.0.5.1")]), permit("science")),
        (
            client(source="127.0.6.1", headers=[("X-Forwarded-For", "127.0.5.1")]),
            deny("decision", "condition_not_met"),
        ),
        policy="proxied",
        covers=["trusted proxies"],
    ),
    *(_asks(row, about) for row, about, _ in _ASKING),
]
TOPIC = topic(
    "features",
    __doc__ or "",
    {
        "small": RULES_SMALL,
        "all": _WORLD,
        "proxied": _PROXIED,
        **{row.replace(" ", "-"): text for row, _, text in _ASKING},
    },
    CASES,
    {"cluster": SITE, "larger": _SITE},
)
