"""Hostile tokens through the whole instance: only the good one reaches the model."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import ModuleType

from meshward.testing.issuer import AUDIENCE, KID, URL
from tests.stack.running import Stack

SKEW = 5  # seconds of clock skew that the verifier allows


def _corpus(shared_data: Path) -> ModuleType:
    path = shared_data / "vectors" / "jwt_corpus_visible.py"
    spec = importlib.util.spec_from_file_location("jwt_corpus_visible", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_corpus(stack: Stack, alice: str, shared_data: Path) -> None:
    cases = _corpus(shared_data).corpus(stack.issuer.key.private_key, KID, URL, AUDIENCE, "at+jwt")
    assert len(cases) >= 70
    for case, want, token in cases:
        reply = stack.call("GET", "/m/m1/v1/public", token)
        if want == "accept":  # its subject holds no role here: known, and refused for that
            assert reply.status == 403 and "test:alice" in reply.headers["x-error-message"], (case, reply)
        else:
            assert reply.status in (400, 401), (case, reply)
    assert stack.taken() == []


def test_an_expired_token_is_not_served_from_the_cache(stack: Stack) -> None:
    """A decision dies with the token that it was made on, however often it was asked for."""
    stack.taken()
    end = int(time.time()) + 2
    token = stack.issuer.token("short", ["users"], exp=end)
    answers: list[tuple[float, int]] = []  # when it was asked, and what came
    while not answers or answers[-1][0] < end + SKEW + 1.5:
        asked = time.time()
        answers.append((asked, stack.call("GET", "/m/m1/v1/public", token).status))
    assert answers[0][1] == 200
    late = [(at - end, status) for at, status in answers if at > end + SKEW + 0.2]
    refusals = (401, 429)  # undecided requests, which nothing keeps now, have a limit per address
    assert late and all(status in refusals for _, status in late), late


def test_other_credentials(stack: Stack, alice: str) -> None:
    for scheme in ("xBearer", "Basic zzz Bearer", "bearer:", "Token", "DPoP"):
        reply = stack.call("GET", "/m/m1/v1/public", None, headers={"Authorization": f"{scheme} {alice}"})
        assert reply.status == 401, (scheme, reply)
    for query in ("access_token", "token", "id_token"):
        assert stack.call("GET", f"/m/m1/v1/public?{query}={alice}").status == 401
    planted = "hf_" + "q" * 34
    reply = stack.call("GET", "/m/m1/v1/public", planted)
    assert reply.status == 401 and "Hugging Face" in reply.headers["x-error-message"]
    assert planted.encode() not in reply.body and planted not in str(reply.headers)
    assert stack.taken() == []
