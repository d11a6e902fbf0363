"""The rules of Istio's own authorization builder: the reader makes the same Envoy filters of the same policies, whole.

Every `-out` file is compared as data. `extended-*` are the same answers under the option that is now always on. One
file tells what Istio before 1.11 wrote of hosts: no version that we read writes it, so both sides are evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshward.align.istio.evaluate import Facts, matches
from meshward.align.istio.filters import custom_filters, filters
from meshward.align.istio.meshconfig import read_config
from meshward.align.istio.objects import MeshObject, read_object

_SERVICE = "my-custom-ext-authz.foo.svc.cluster.local"
_HEADERS = ["x-prefix-*", "*-suffix"]
_GRPC = {
    "service": f"foo/{_SERVICE}",
    "port": 9000,
    "timeout": "0.002s",
    "failOpen": True,
    "statusOnError": "403",
    "includeRequestBodyInCheck": {"maxRequestBytes": 4096, "allowPartialMessage": True},
}
_HTTP = {
    "service": f"foo/{_SERVICE}",
    "port": 9000,
    "timeout": "10s",
    "failOpen": True,
    "statusOnError": "403",
    "pathPrefix": "/check",
    "includeRequestHeadersInCheck": ["x-custom-id", *_HEADERS],
    "includeHeadersInCheck": ["not-when-the-one-above-is-set"],
    "includeAdditionalHeadersInCheck": {"x-header-2": "value-2", "x-header-1": "value-1"},
    "includeRequestBodyInCheck": {"maxRequestBytes": 2048, "allowPartialMessage": True, "packAsBytes": True},
    "headersToUpstreamOnAllow": ["Authorization", *_HEADERS],
    "headersToDownstreamOnDeny": ["Set-cookie", *_HEADERS],
    "headersToDownstreamOnAllow": ["Set-cookie", *_HEADERS],
}
_BARE = {"service": _SERVICE, "port": 9000, "failOpen": True, "statusOnError": "403"}
_BAD = {"service": "foo/my-custom-ext-authz", "port": 999999, "pathPrefix": "check", "statusOnError": "999"}
_PROVIDERS: dict[str, dict[str, Any]] = {
    "http/custom-grpc-provider-no-namespace": {"envoyExtAuthzGrpc": _BARE},
    "http/custom-grpc-provider": {"envoyExtAuthzGrpc": _GRPC},
    "http/custom-http-provider": {"envoyExtAuthzHttp": _HTTP},
    "http/custom-bad-multiple-providers": {"envoyExtAuthzHttp": _HTTP},
    "http/custom-bad": {"envoyExtAuthzHttp": _BAD},
    "tcp/custom-both-http-tcp": {"envoyExtAuthzGrpc": _GRPC},
    "tcp/custom-only-http": {"envoyExtAuthzHttp": _HTTP},
}
_DOMAINS: dict[str, tuple[str, ...]] = {
    "http/simple-policy-td-aliases": ("td1", "cluster.local"),
    "http/simple-policy-multiple-td-aliases": ("td1", "cluster.local", "some-td"),
    "http/simple-policy-principal-with-wildcard": ("td1", "foobar"),
    "http/td-aliases-source-principal": ("new-td", "old-td", "some-trustdomain"),
}
_BEFORE_111 = "http/allow-host-before-111"


@pytest.fixture(scope="module")
def vectors(shared_data: Path) -> Path:
    return shared_data / "vectors" / "istio-authz"


def _names(vectors: Path) -> list[str]:
    inputs = [path for path in vectors.glob("*/*-in.yaml") if "custom-simple" not in path.name]
    shared = [path for path in vectors.glob("http/custom-*-out*.yaml") if "multiple" not in path.name]
    found = {f"{path.parent.name}/{path.name}" for path in inputs + shared}
    return sorted({name.rpartition("-in")[0] or name.rpartition("-out")[0] for name in found} - {_BEFORE_111})


def _policies(vectors: Path, name: str) -> list[MeshObject]:
    path = vectors / f"{name}-in.yaml"
    text = (path if path.exists() else vectors / "http/custom-simple-http-in.yaml").read_text()
    objects = [read_object(body) for body in yaml.safe_load_all(text) if body]
    assert not [each for each in objects if each.refused or each.dropped]
    return objects


def _made(vectors: Path, name: str) -> list[dict[str, Any]]:
    told, *aliases = _DOMAINS.get(name, ("-",))
    provider = _PROVIDERS.get(name)
    providers = [{"name": "default", **provider}] if provider else []
    config = read_config(
        {"trustDomain": told, "trustDomainAliases": aliases, "extensionProviders": providers}
    )
    tcp = name.startswith("tcp/")
    policies = _policies(vectors, name)
    return (
        custom_filters(policies, config, [_SERVICE], tcp=tcp)
        if provider
        else filters(policies, config, tcp=tcp)
    )


def _files(vectors: Path, name: str, prefix: str = "") -> list[Path]:
    folder, _, base = name.partition("/")
    return [
        each
        for end in ("", "1", "2")
        if (each := vectors / folder / f"{prefix}{base}-out{end}.yaml").exists()
    ]


def _told(paths: Sequence[Path]) -> list[Any]:
    return [yaml.safe_load(path.read_text()) for path in paths]


def test_every_policy_makes_the_filters_that_istiod_makes(vectors: Path) -> None:
    seen = {vectors / f"{_BEFORE_111}-{end}.yaml" for end in ("in", "out")} | {
        vectors / "http/custom-simple-http-in.yaml"
    }
    for name in _names(vectors):
        made = _made(vectors, name)
        for prefix in ("", "extended-"):
            files = _files(vectors, name, prefix)
            assert not files or made == _told(files), f"{prefix}{name}"
            seen.update(files)
        assert made == _told(_files(vectors, name)), name
        seen.add(vectors / f"{name}-in.yaml")
    assert set(vectors.glob("*/*.yaml")) - seen == set()
    assert len(list(vectors.glob("*/*.yaml"))) == 91


def test_hosts_of_an_older_istio_mean_the_same(vectors: Path) -> None:
    hosts = [
        "example.com",
        "EXAMPLE.com",
        "prefix.example.org",
        "a.example.com",
        "other.org",
        "not-example.com",
    ]
    hosts += ["prefix.not-example.org", "x.not-example.com", "examplexcom", "example.com:80", ""]
    ours, theirs = (
        list(_headers(each)) for each in (_made(vectors, _BEFORE_111), _told(_files(vectors, _BEFORE_111)))
    )
    assert len(ours) == 8
    answers = [[[matches(each, Facts("/", {":authority": host})) for host in hosts] for each in ours]]
    answers += [[[matches(each, Facts("/", {":authority": host})) for host in hosts] for each in theirs]]
    assert answers[0] == answers[1]
    assert {True, False} == {answer for row in answers[0] for answer in row}


def _headers(found: Any) -> Iterator[dict[str, Any]]:
    for each in found if isinstance(found, list) else []:
        yield from _headers(each)
    for name, each in found.items() if isinstance(found, dict) else ():
        if name == "header":
            yield {"header": each}
        else:
            yield from _headers(each)
