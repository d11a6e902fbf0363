"""The demo's identity provider: real grants, no shortcuts, and no way to mistake it for more than a demo."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from meshward.demo.accounts import DEVICE_GRANT, PEOPLE, batch_token, load_accounts, token_for
from meshward.demo.idp import EveryLine, IdentityProvider
from meshward.demo.keyring import rotation_secret
from meshward.kit.errors import MeshwardError

from .conftest import listening


@dataclass
class Hand:
    """A clock that moves when a test says so."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Demo:
    url: str
    state: Path
    clock: Hand = field(default_factory=Hand)

    def post(self, path: str, **form: str) -> httpx2.Response:
        return httpx2.post(self.url + path, data=form, timeout=60)

    def start(self, scope: str = "openid") -> dict[str, Any]:
        answer = self.post("/device_authorization", client_id="demo-cli", scope=scope)
        assert answer.status_code == 200, answer.text
        device: dict[str, Any] = answer.json()
        return device

    def approve(self, device: dict[str, Any], account: str = "alice", **form: str) -> httpx2.Response:
        form.setdefault("password", load_accounts(self.state).secrets[account].reveal())
        form.setdefault("decision", "approve")
        return self.post("/device", user_code=device["user_code"], account=account, **form)

    def poll(self, device: dict[str, Any], **form: str) -> httpx2.Response:
        form = {"client_id": "demo-cli", "device_code": device["device_code"], **form}
        return self.post("/token", grant_type=DEVICE_GRANT, **form)

    def keys(self) -> KeySet:
        return KeySet.import_key_set(httpx2.get(f"{self.url}/jwks", timeout=60).json())

    def rotate(self) -> str:
        secret = rotation_secret(self.state).reveal()
        answer = httpx2.post(
            f"{self.url}/admin/rotate", headers={"Authorization": f"Bearer {secret}"}, timeout=60
        )
        assert answer.status_code == 200
        return str(answer.json()["kid"])


@pytest.fixture
def demo(state: Path) -> Iterator[Demo]:
    clock = Hand()
    with listening(lambda host, port: IdentityProvider(state, host, port, clock).app()) as url:
        yield Demo(url, state, clock)


def error(answer: httpx2.Response) -> str:
    assert answer.status_code in (400, 401), answer.text
    return str(answer.json()["error"])


def test_discovery_names_only_this_provider(demo: Demo):
    found = httpx2.get(f"{demo.url}/.well-known/openid-configuration", timeout=60).json()
    assert found["issuer"] == demo.url
    for name in ("jwks_uri", "token_endpoint", "device_authorization_endpoint"):
        assert found[name].startswith(demo.url + "/")


@pytest.mark.parametrize(
    ("account", "group"), [("alice", "data-science"), ("bob", "sales"), ("carol", "ml-platform")]
)
def test_a_person_signs_in_by_the_device_flow(demo: Demo, account: str, group: str):
    token = jwt.decode(token_for(demo.url, account, demo.state).reveal(), demo.keys(), algorithms=["ES256"])
    now = int(demo.clock.now)
    assert token.header["typ"] == "at+jwt" and token.header["kid"]
    jti = token.claims.pop("jti")
    assert len(jti) == 36
    assert token.claims == {
        "iss": demo.url,
        "aud": "meshward-demo",
        "sub": account,
        "preferred_username": account,
        "groups": [group],
        "client_id": "demo-cli",
        "scope": "openid",
        "iat": now,
        "exp": now + 900,
        "auth_time": now,
    }


def test_an_id_token_is_another_kind_of_token(demo: Demo):
    device = demo.start()
    demo.approve(device)
    issued = demo.poll(device).json()
    token = jwt.decode(issued["id_token"], demo.keys(), algorithms=["ES256"])
    assert token.header["typ"] == "JWT" and token.claims["aud"] == "demo-cli"
    assert issued["token_type"] == "Bearer" and issued["expires_in"] == 900
    device = demo.start(scope="groups")
    demo.approve(device)
    assert "id_token" not in demo.poll(device).json()


def test_no_two_tokens_are_the_same(demo: Demo):
    assert token_for(demo.url, "bob", demo.state) != token_for(demo.url, "bob", demo.state)


def test_the_batch_client_gets_a_token_for_itself(demo: Demo):
    claims = jwt.decode(batch_token(demo.url, demo.state).reveal(), demo.keys(), algorithms=["ES256"]).claims
    assert (claims["sub"], claims["client_id"], claims["groups"]) == ("demo-batch", "demo-batch", ["batch"])
    assert "auth_time" not in claims
    secret = load_accounts(demo.state).secrets["demo-batch"].reveal()
    grant = {"grant_type": "client_credentials"}
    assert (
        httpx2.post(f"{demo.url}/token", data=grant, auth=("demo-batch", secret), timeout=60).status_code
        == 200
    )
    assert (
        httpx2.post(
            f"{demo.url}/token", data=grant, auth=("demo-batch", secret + "x"), timeout=60
        ).status_code
        == 401
    )


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (
            {"grant_type": "client_credentials", "client_id": "demo-batch", "client_secret": "wrong"},
            "invalid_client",
        ),
        ({"grant_type": "client_credentials", "client_id": "demo-batch"}, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "demo-cli"}, "invalid_client"),
        ({"grant_type": "client_credentials"}, "invalid_client"),
        ({"grant_type": "password", "username": "alice", "password": "x"}, "unsupported_grant_type"),
        ({"grant_type": DEVICE_GRANT, "client_id": "demo-cli"}, "invalid_request"),
        ({"grant_type": DEVICE_GRANT, "client_id": "demo-cli", "device_code": "guess"}, "invalid_request"),
        ({"grant_type": DEVICE_GRANT, "client_id": "nobody", "device_code": "guess"}, "invalid_client"),
        ({}, "unsupported_grant_type"),
    ],
)
def test_wrong_grants_are_refused(demo: Demo, form: dict[str, str], code: str):
    assert error(demo.post("/token", **form)) == code


def test_a_device_waits_slows_down_and_is_served_once(demo: Demo):
    device = demo.start()
    assert device["interval"] == 5 and device["expires_in"] == 600
    assert error(demo.poll(device)) == "authorization_pending"
    demo.clock.now += 4
    assert error(demo.poll(device)) == "slow_down"
    demo.clock.now += 9  # from now on it must wait 10 s
    assert error(demo.poll(device)) == "slow_down"
    demo.clock.now += 15
    assert error(demo.poll(device)) == "authorization_pending"
    assert demo.approve(device).status_code == 200
    assert demo.poll(device).status_code == 200
    assert error(demo.poll(device)) == "invalid_request", "a device code is good for one token"


def test_a_code_expires(demo: Demo):
    device = demo.start()
    demo.clock.now += 600
    assert demo.approve(device).status_code == 400
    assert error(demo.poll(device)) == "expired_token"


def test_an_approval_does_not_outlive_its_code(demo: Demo):
    device = demo.start()
    demo.approve(device)
    demo.clock.now += 600
    assert error(demo.poll(device)) == "expired_token"


def test_a_person_may_refuse(demo: Demo):
    device = demo.start()
    assert demo.approve(device, decision="deny", password="").status_code == 200
    assert error(demo.poll(device)) == "access_denied"
    assert demo.approve(device).status_code == 400, "a decision stands"


def test_wrong_passwords_do_not_sign_in_and_are_few(demo: Demo):
    device = demo.start()
    bob_s = load_accounts(demo.state).secrets["bob"].reveal()
    for wrong in ("", "guess", bob_s, "guess", "é"):
        assert demo.approve(device, password=wrong).status_code == 403
    assert demo.approve(device).status_code == 400, "after five the code is dead"
    assert error(demo.poll(device)) == "access_denied"


def test_the_batch_secret_is_no_password(demo: Demo):
    assert demo.approve(demo.start(), account="demo-batch").status_code == 403


def test_a_code_of_another_device_or_client_is_worth_nothing(demo: Demo):
    approved, other = demo.start(), demo.start()
    demo.approve(approved)
    assert error(demo.poll(other)) == "authorization_pending"
    secret = load_accounts(demo.state).secrets["demo-batch"].reveal()
    assert error(demo.poll(approved, client_id="demo-batch", client_secret=secret)) == "unauthorized_client"


def test_the_code_is_read_as_people_type_it(demo: Demo):
    device = demo.start()
    typed = {"user_code": device["user_code"].replace("-", " ").lower()}
    assert demo.approve(typed).status_code == 200
    assert demo.poll(device).status_code == 200


def test_unknown_scopes_are_refused(demo: Demo):
    assert error(demo.post("/device_authorization", client_id="demo-cli", scope="admin")) == "invalid_scope"


@pytest.mark.parametrize(
    "body", [b"grant_type=client_credentials&grant_type=client_credentials", b"\xff\xfe", b"%ff=1", b"{}"]
)
def test_forms_are_read_strictly(demo: Demo, body: bytes):
    assert error(httpx2.post(f"{demo.url}/token", content=body, timeout=60)) == "invalid_request"


def test_a_large_form_and_a_damaged_authorization_are_refused(demo: Demo):
    assert demo.post("/token", filler="x" * 9000).status_code == 413
    for damaged in (b"Basic \xff", b"Basic //8=", b"Basic !", b"Bearer x"):
        answer = httpx2.post(
            f"{demo.url}/token",
            data={"grant_type": "client_credentials"},
            headers=[(b"Authorization", damaged)],
            timeout=60,
        )
        assert error(answer) == "invalid_client", damaged


def test_the_next_key_is_published_before_its_first_use(demo: Demo):
    published = {key.kid for key in demo.keys().keys}
    before = token_for(demo.url, "alice", demo.state).reveal()
    kid = demo.rotate()
    assert kid in published
    after = token_for(demo.url, "alice", demo.state).reveal()
    assert jwt.decode(after, demo.keys(), algorithms=["ES256"]).header["kid"] == kid
    assert jwt.decode(before, demo.keys(), algorithms=["ES256"]).header["kid"] != kid


def test_a_retired_key_goes_when_its_last_token_is_dead(demo: Demo):
    before = token_for(demo.url, "alice", demo.state).reveal()
    demo.rotate()
    demo.clock.now += 899
    assert len(demo.keys().keys) == 3
    demo.clock.now += 1
    assert len(demo.keys().keys) == 2
    with pytest.raises(JoseError):
        jwt.decode(before, demo.keys(), algorithms=["ES256"])


def test_the_jwks_holds_no_private_key(demo: Demo):
    demo.rotate()
    for key in httpx2.get(f"{demo.url}/jwks", timeout=60).json()["keys"]:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


def test_rotation_needs_its_secret(demo: Demo):
    before = demo.keys().as_dict()
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x"}):
        assert httpx2.post(f"{demo.url}/admin/rotate", headers=headers, timeout=60).status_code == 401
    assert demo.keys().as_dict() == before


def test_keys_and_accounts_outlive_a_restart(demo: Demo):
    demo.rotate()
    token = token_for(demo.url, "carol", demo.state).reveal()
    clock = Hand(demo.clock.now)
    with listening(lambda host, port: IdentityProvider(demo.state, host, port, clock).app()) as url:
        again = Demo(url, demo.state, clock)
        assert jwt.decode(token, again.keys(), algorithms=["ES256"]).claims["sub"] == "carol"
        assert again.keys().as_dict() == demo.keys().as_dict()
        assert token_for(url, "carol", demo.state)


def test_secrets_are_made_fresh_and_kept_private(demo: Demo, tmp_path: Path):
    directory = demo.state / "demo"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert files == {"accounts.json": 0o600, "idp-keys.json": 0o600, "rotation-secret": 0o600}
    with listening(lambda host, port: IdentityProvider(tmp_path / "other", host, port).app()):
        one, other = load_accounts(demo.state).secrets, load_accounts(tmp_path / "other").secrets
    assert all(one[name] != other[name] for name in one)
    assert "<secret>" in repr(one)


def test_every_page_warns_and_trusts_nothing(demo: Demo):
    for path in ("/", "/device", "/device?user_code=%22%3E%3Cscript%3E"):
        answer = httpx2.get(demo.url + path, timeout=60)
        assert "not for production" in answer.text and "<script>" not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in ("/", "/jwks", "/token", "/nope", "/.well-known/openid-configuration"):
        answer = httpx2.get(demo.url + path, timeout=60)
        assert "not for production" in answer.headers["x-demo"], path
        assert answer.headers.get_list("cache-control") == ["no-store"], path
    wrong = demo.approve(demo.start(), password="x", account="alice")
    assert "not for production" in wrong.text


def test_nothing_redirects(demo: Demo):
    for path in ("/device/", "/token/", "//device", "/jwks/", "/.well-known/openid-configuration/"):
        for method in ("GET", "POST"):
            assert httpx2.request(method, demo.url + path, timeout=60).status_code in (404, 405)


def test_another_host_name_is_refused(demo: Demo):
    for host in ("evil.example", "localhost", "www.127.0.0.1"):
        answer = httpx2.get(f"{demo.url}/jwks", headers={"Host": host}, timeout=60)
        assert answer.status_code == 400 and "x-demo" in answer.headers


def test_a_wrong_password_is_logged_without_it(demo: Demo, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    device = demo.start()
    demo.approve(device, password="a-wrong-password")
    demo.post(
        "/device", user_code=device["user_code"], account="a-password-in-the-wrong-field", decision="approve"
    )
    device = demo.start()
    demo.approve(device)
    token = demo.poll(device).json()
    httpx2.get(f"{demo.url}/a-secret-in-the-path?user_code={device['user_code']}", timeout=60)
    ours = [
        record.getMessage() for record in caplog.records if record.name.startswith(("meshward", "authlib"))
    ]
    logged = "\n".join(ours)
    assert "wrong password for alice" in logged and "wrong password for an unknown account" in logged
    secrets = [item.reveal() for item in load_accounts(demo.state).secrets.values()]
    secrets += [
        "a-wrong-password",
        "a-password-in-the-wrong-field",
        "a-secret-in-the-path",
        device["user_code"],
    ]
    secrets += [
        device["device_code"],
        token["access_token"],
        token["id_token"],
        rotation_secret(demo.state).reveal(),
    ]
    assert not [secret for secret in secrets if secret in logged]


def test_each_line_of_a_record_warns():
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "one\ntwo", None, None)
    lines = EveryLine().format(record).splitlines()
    assert len(lines) == 2 and all("not for production" in line for line in lines)


def test_token_for_names_what_is_wrong(demo: Demo, tmp_path: Path):
    with pytest.raises(MeshwardError, match="dave") as caught:
        token_for(demo.url, "dave", demo.state)
    assert all(name in caught.value.remedy for name in PEOPLE)
    with pytest.raises(MeshwardError, match="no demo accounts"):
        token_for(demo.url, "alice", tmp_path)
    with pytest.raises(MeshwardError, match="did not answer"):
        token_for("http://127.0.0.1:1", "alice", demo.state)

    async def discovery(_: Request) -> JSONResponse:
        return JSONResponse({"issuer": demo.url})

    other = Starlette(routes=[Route("/.well-known/openid-configuration", discovery)])
    with (
        listening(lambda _host, _port: other) as url,
        pytest.raises(MeshwardError, match="names another issuer"),
    ):
        token_for(url, "alice", demo.state)
    path = demo.state / "demo" / "accounts.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "accounts": {**kept["accounts"], "alice": "stale"}}))
    with pytest.raises(MeshwardError, match="status 403") as caught:
        token_for(demo.url, "alice", demo.state)
    assert "stale" not in str(caught.value)
