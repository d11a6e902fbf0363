"""Stand-ins take the place of what is outside, and of nothing else: the rules are those of the file."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from meshward.policy.parse import to_json
from meshward.policy.schema import Policy
from meshward.testing.given import policy_of
from meshward.testing.stand_ins import StandIns, free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.yaml"
OUTSIDE = {"jwks", "url", "replicas", "listen", "certificate"}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[StandIns]:
    with closing(StandIns(tmp_path, 8443)) as made:
        yield made


def rules(policy: Policy) -> Any:
    """All but where keys, servers and the edge are."""
    text = json.loads(to_json(policy))
    text["credentials"] = list(text["credentials"])
    return _without(text)


def _without(value: Any) -> Any:
    if isinstance(value, list):
        return [_without(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _without(each) for key, each in value.items() if key not in OUTSIDE}


def test_every_rule_of_the_reference_policy_stays(outside: StandIns) -> None:
    policy = policy_of(EXAMPLE)
    put = outside.put_into(policy)
    assert rules(put) == rules(policy)
    assert set(outside.issuers) == set(policy.issuers)
    assert set(outside.models) == {f"{m}/{v}" for m, model in policy.models.items() for v in model.versions}


def test_nothing_outside_is_left(outside: StandIns, tmp_path: Path) -> None:
    text = json.loads(to_json(policy_of(EXAMPLE)))
    text["edge"]["certificate"] = {"from": "files", "path": "/etc/certificate"}
    text["models"]["minilm"]["versions"]["v1"]["replicas"] = ["http://10.0.0.7:80"]
    text["issuers"]["keycloak"]["jwks"] = {"url": "https://keys.example.com", "max_stale": "24h"}
    put = outside.put_into(policy_of(text))
    assert str(put.edge.listen) == "127.0.0.1:8443" and put.edge.certificate.source == "generated"
    for name, issuer in put.issuers.items():
        assert issuer.jwks.file == str(tmp_path / f"{name}.jwks.json") and issuer.jwks.url is None
    for version in (version for model in put.models.values() for version in model.versions.values()):
        assert str(version.url).startswith(f"unix:{tmp_path}/") and version.replicas == []
    (secret,) = put.credentials.values()
    assert secret.source == "file" and Path(secret.path or "").read_text() == "secret of hf-prod\n"
    assert Path(secret.path or "").stat().st_mode & 0o777 == 0o600


def test_a_second_policy_meets_the_same_ones(outside: StandIns) -> None:
    outside.put_into(policy_of(EXAMPLE))
    issuers, models = dict(outside.issuers), dict(outside.models)
    text = json.loads(to_json(policy_of(EXAMPLE)))
    text["models"]["minilm"]["versions"]["v3"] = {"server": "tei", "url": "http://127.0.0.1:1"}
    outside.put_into(policy_of(text))
    assert outside.issuers == issuers
    assert models.items() <= outside.models.items() and set(outside.models) - set(models) == {"minilm/v3"}


def test_once_closed_no_server_answers(outside: StandIns) -> None:
    outside.put_into(policy_of(EXAMPLE))
    path = outside.models["minilm/v1"].path
    with socket.socket(socket.AF_UNIX) as before:
        before.connect(str(path))
    outside.close()
    with socket.socket(socket.AF_UNIX) as after, pytest.raises(OSError):
        after.connect(str(path))


def test_a_free_port_is_given_to_nobody_else_until_its_server_listens() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))  # as the kernel does for who asks for any, or connects from any
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=60)
    with socket.create_server(("127.0.0.1", port)):  # which sets SO_REUSEADDR, as nginx and Envoy do
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
