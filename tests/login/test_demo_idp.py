"""Signing in at the demo's identity provider, as the quickstart does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from meshward.demo.accounts import AUDIENCE, PUBLIC_CLIENT
from meshward.demo.idp import IdentityProvider
from meshward.kit.errors import MeshwardError
from meshward.login.session import sign_in
from meshward.login.target import LoginTarget
from meshward.login.tokens import claims_of
from tests.demo.conftest import listening
from tests.login.conftest import Screen


@pytest.fixture
def idp(tmp_path: Path) -> Iterator[str]:
    with listening(lambda host, port: IdentityProvider(tmp_path, host, port).app()) as url:
        yield url


def at_the_page(idp: str, state: Path, decision: str) -> Screen:
    def react(line: str) -> None:
        if line.startswith("and enter the code"):
            password = json.loads((state / "demo" / "accounts.json").read_text())["accounts"]["alice"]
            form = {
                "user_code": line.split()[-1],
                "account": "alice",
                "password": password,
                "decision": decision,
            }
            httpx2.post(f"{idp}/device", data=form, trust_env=False, timeout=60).raise_for_status()

    return Screen(react)


def test_alice_signs_in(idp: str, tmp_path: Path) -> None:
    screen = at_the_page(idp, tmp_path, "approve")
    login = sign_in(LoginTarget("https://e.test", None, idp, PUBLIC_CLIENT), None, None, screen.terminal())
    claims = claims_of(login.token) or {}
    assert (claims["sub"], claims["aud"], claims["groups"]) == ("alice", AUDIENCE, ["data-science"])
    assert login.kind == "access" and login.refresh is None and screen.failures == []


def test_it_was_not_alice(idp: str, tmp_path: Path) -> None:
    screen = at_the_page(idp, tmp_path, "deny")
    with pytest.raises(MeshwardError, match="refused on the issuer's page"):
        sign_in(LoginTarget("https://e.test", None, idp, PUBLIC_CLIENT), None, None, screen.terminal())
