"""What a policy's texts mean is read once; how they are spelled is kept, byte for byte."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from policy_texts import BASE, changed, read
from tests.cost import watched

from meshward.plan.resolve import resolve
from meshward.policy import grammar
from meshward.policy.parse import to_json
from meshward.policy.schema import Policy

Path = tuple[str | int, ...]
TEST = {"as": {"issuer": "okta"}, "model": "minilm", "action": "infer", "expect": "denial"}
SPELLINGS: list[tuple[Path, list[str]]] = [
    (("edge", "listen"), ["[::1]:8443", "[0:0::1]:8443", "127.0.0.1:8443"]),
    (("edge", "trusted_proxies"), ["10.0.0.0/8", "10.0.0.0/255.0.0.0", "2001:DB8::/32", "192.0.2.1"]),
    (("issuers", "okta", "groups"), ["/a", "/a~1b~0/c", "/a~01"]),
    (("issuers", "okta", "jwks", "url"), ["https://EXAMPLE.com:444/x/", "https://a.com", "https://a.com/"]),
    (("issuers", "okta", "jwks", "max_stale"), ["24h", "1440m", "1d"]),
    (("roles", "staff", 0, "until"), ["2030-01-01", "2030-01-02T00:00:00Z", "2030-01-02T02:00:00+02:00"]),
    (("servers", "own", "infer"), ["POST /ask", "GET /v1/a.b~c:d@e-f_g/"]),
    (("servers", "own", "health"), ["GET /health", "GET /"]),
    (("models", "minilm", "versions", "v1", "url"), ["unix:/run/a@b.sock", "http://[0::1]:80/", "http://A"]),
    (("models", "minilm", "versions", "v1", "replicas"), ["https://a.b:443", "http://localhost:8081/"]),
    (("models", "minilm", "timeout"), ["60s", "1m"]),
    (("models", "minilm", "max_body"), ["2m", "2048k", "2097152"]),
    (("grants", 0, "when"), ["203.0.113.9", "203.0.113.9/32", "2001:DB8::/32"]),
    (("grants", 0, "when", "hours"), ["Mon-Wed 08:00-24:00 UTC", "Mon,Tue,Wed 08:00-24:00 UTC"]),
    (("grants", 0, "limits", "requests"), ["600/min", "10/s", "100/hour", "1000000000/day"]),
    (("grants", 0, "expires"), ["2027-03-31", "2027-04-01T00:00:00Z"]),
    (("audit", "retention"), ["183d", "4392h"]),
]
ALONE = {  # a key whose value is a list, or a mapping around it
    "trusted_proxies": lambda text: [text],
    "infer": lambda text: [text],
    "replicas": lambda text: [text],
    "when": lambda text: {"from": [text]},
}
CASES = [(path, text) for path, texts in SPELLINGS for text in texts]


def policy_with(path: Path, text: str) -> dict[str, Any]:
    return changed(path, ALONE.get(str(path[-1]), lambda text: text)(text))


def at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def read_texts(work: Callable[[], object]) -> Counter[str]:
    """How often `work` asks which of the grammars."""
    asked: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_globals.get("__name__") == grammar.__name__:
            asked[frame.f_code.co_name] += 1

    with watched(sys.setprofile, count, sys.getprofile()):
        work()
    return asked


@pytest.mark.parametrize(("path", "text"), CASES)
def test_json_has_the_authors_spelling(path: Path, text: str) -> None:
    given = policy_with(path, text)
    policy = read(given).policy
    said = to_json(policy)
    assert at(json.loads(said), path) == at(given, path)
    assert read(said).policy == policy == Policy.model_validate_json(said)


@pytest.mark.parametrize("instant", ["2026-11-23 10:00", "2026-11-23T10:00:00+00:00"])
def test_json_has_the_spelling_of_a_test(instant: str) -> None:
    given = BASE | {"tests": [TEST | {"from": "2001:DB8::1", "at": instant}]}
    (test,) = json.loads(to_json(read(given).policy))["tests"]
    assert (test["from"], test["at"]) == ("2001:DB8::1", instant)


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        (("models", "minilm", "timeout"), "60s", "1m"),
        (("models", "minilm", "max_body"), "2m", "2048k"),
        (("grants", 0, "when"), "203.0.113.9", "203.0.113.9/32"),
        (("grants", 0, "when", "hours"), "Mon-Wed 08:00-24:00 UTC", "Mon,Tue,Wed 08:00-24:00 UTC"),
        (("grants", 0, "expires"), "2027-03-31", "2027-04-01T00:00:00Z"),
        (("edge", "listen"), "[::1]:8443", "[0:0::1]:8443"),
    ],
)
def test_two_spellings_are_two_policies_and_one_plan(path: Path, one: str, other: str) -> None:
    policies = [read(policy_with(path, text)).policy for text in (one, other)]
    assert policies[0] != policies[1]
    plans = [resolve(policy) for policy in policies]
    assert plans[0].digest != plans[1].digest
    assert (plans[0].models, plans[0].grants, plans[0].edge) == (
        plans[1].models,
        plans[1].grants,
        plans[1].edge,
    )


def test_the_digest_of_a_policy_stays_what_older_releases_wrote() -> None:
    """Revisions are called by it: a state directory that an older release wrote must find its own again."""
    policy = changed(("grants", 0, "limits"), {"requests": "600/min", "tokens": "200000/day"})
    policy["edge"] = {"listen": "[0:0::1]:8443", "trusted_proxies": ["2001:DB8::/32"]}
    policy["models"]["minilm"]["versions"]["v1"]["replicas"] = ["http://[0::1]:80/", "http://LOCALHOST:8081"]
    policy["models"]["minilm"] |= {"timeout": "1m", "max_body": "2048k", "cache": {"ttl": "3600s"}}
    policy["grants"][0] |= {"expires": "2027-03-31", "when": {"hours": "Mon,Tue 08:00-24:00 UTC"}}
    digest = "b4af3970de97cd7015beef432f5adec87b5dcddc35d310f55326c437430bcf17"
    assert resolve(read(policy).policy).digest == digest


def test_each_text_is_read_once_and_never_again() -> None:
    policy = changed(("grants", 0, "limits", "requests"), "600/min")
    asked = read_texts(lambda: read(policy))
    assert asked["parse_rate"] == 1
    assert asked["parse_route"] == 3  # two routes of `own`, and its health
    assert asked["parse_server_url"] == 3
    parsed = read(policy).policy
    assert read_texts(lambda: resolve(parsed)) == {}
    assert read_texts(lambda: to_json(parsed)) == {}
