"""The control API of a running instance: operators change it from afar, and nobody else does, whatever they send."""

from __future__ import annotations

import copy
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshward.audit.lines import REFUSED, ChangeLine, change_text
from meshward.audit.places import CHANGES
from meshward.control.ask import VERBS
from meshward.kit.bounded import LONGEST_DOCUMENT
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.secret import Secret
from meshward.kit.wellknown import CONTROL, CONTROL_BODY
from meshward.login.store import LoginStore, SavedLogin
from meshward.testing.issuer import KID, URL, Issuer
from tests.apply.control import applying, ask, state_of, write_operated
from tests.stack.live import apply, policy_of
from tests.stack.running import Stack, eventually, running

# One request of each verb, as a command would make it.
REQUESTS: dict[str, dict[str, Any]] = {
    "apply": {"policy": "{}"},
    "rollback": {"revision": 1},
    "history": {},
    "policy": {},
    "revoke": {"subject": "test:alice"},
    "rotate": {"what": "svids"},
    "traffic": {"model": "m1", "weights": {"v1": 1}},
}
HEADERS = ("access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers")


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_operated) as started:
        started.hostname = "localhost"
        yield started


@pytest.fixture
def text(stack: Stack) -> dict[str, Any]:
    """The first policy; what earlier tests changed is undone."""
    first: dict[str, Any] = json.loads(stack.policy.read_text())
    apply(stack, policy_of(first), allow=["widening"])
    return first


@pytest.fixture
def operator(stack: Stack) -> str:
    return stack.issuer.token("olga", ["operators"])


def with_sales(text: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(text)
    changed["roles"]["sales"] = [{"issuer": "test", "group": "sales"}]
    changed["grants"].append({"id": "sell", "roles": ["sales"], "models": ["m1"], "actions": ["infer"]})
    return changed


def changes(stack: Stack) -> list[dict[str, Any]]:
    """Newest first, as the audit keeps them."""
    command = [
        sys.executable,
        "-m",
        "meshward",
        "history",
        "--changes",
        "--json",
        "--state",
        str(stack.state),
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return list(json.loads(told.stdout)["changes"])


def change_by(stack: Stack, author: str, **facts: str) -> dict[str, Any]:
    """The newest change of `author`, once it is kept."""

    def found() -> dict[str, Any] | None:
        mine = [
            each for each in changes(stack) if each["author"] == author and each["outcome"] != "unfinished"
        ]
        return mine[0] if mine and facts.items() <= mine[0]["facts"].items() else None

    return eventually(found, what=f"a change by {author} with {facts}")


def test_an_operator_applies_looks_back_and_takes_back(
    stack: Stack, text: dict[str, Any], operator: str
) -> None:
    bob, before = stack.issuer.token("bob", ["sales"]), stack.instance.revision
    assert stack.call("GET", "/m/m1/v1/public", bob).status == 403
    reply = ask(stack, operator, applying(with_sales(text), base=before, reason="they sell"))
    assert reply.status == 200, reply.body
    assert reply.json["done"]["revision"] == before + 1 and reply.headers["cache-control"] == "no-store"
    assert stack.call("GET", "/m/m1/v1/public", bob).status == 200
    told = ask(stack, operator, {"do": "history"}).json["done"]
    assert told["current"] == before + 1
    assert (told["revisions"][0]["author"], told["revisions"][0]["reason"]) == ("test:olga", "they sell")
    running_now = ask(stack, operator, {"do": "policy"}).json["done"]
    assert running_now["revision"] == before + 1 and "sell" in running_now["policy"]
    earlier = ask(stack, operator, {"do": "policy", "revision": before}).json["done"]
    assert earlier["record"]["number"] == before and earlier["policy"] != running_now["policy"]
    assert ask(stack, operator, {"do": "policy", "revision": 999}).status == 400
    assert ask(stack, operator, {"do": "rollback", "revision": before}).status == 200
    assert stack.call("GET", "/m/m1/v1/public", bob).status == 403
    kept = change_by(stack, "test:olga", reason="rollback to revision " + str(before))
    assert (kept["did"], kept["outcome"], kept["facts"]["from"]) == ("rollback", "done", "127.0.0.1")


@pytest.mark.parametrize("group", ["users", "bosses", "nobody"])
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_no_verb_is_anybodys_who_is_no_operator(
    stack: Stack, text: dict[str, Any], verb: str, group: str
) -> None:
    """`manage` on every model, as bosses have it, is no right over meshward."""
    before = state_of(stack)
    request = applying(with_sales(text)) if verb == "apply" else {"do": verb, **REQUESTS[verb]}
    reply = ask(stack, stack.issuer.token("eve", [group]), request)
    assert (reply.status, reply.json["error_type"]) == (403, "not_an_operator")
    assert 'error="insufficient_scope"' in reply.headers["www-authenticate"]
    assert state_of(stack) == before
    assert change_by(stack, "test:eve", code="MW3072")["outcome"] == "refused"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_who_may_shift_traffic_may_do_nothing_else(stack: Stack, text: dict[str, Any], verb: str) -> None:
    request = applying(with_sales(text)) if verb == "apply" else {"do": verb, **REQUESTS[verb]}
    before, token = state_of(stack), stack.issuer.token("sven", ["shifters", "bosses"])
    reply = ask(stack, token, request)
    if VERBS[verb].right == "traffic":
        assert reply.status != 403
    else:
        assert (reply.status, reply.json["error_type"]) == (403, "not_an_operator")
        assert state_of(stack) == before


def tampered(token: str) -> str:
    head, payload, signature = token.split(".")
    return f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def bad_tokens(stack: Stack) -> dict[str, str | None]:
    now, issuer = int(time.time()), stack.issuer
    good = issuer.token("olga", ["operators"])
    return {
        "none": None,
        "expired": issuer.token("olga", ["operators"], iat=now - 700, exp=now - 100),
        "of another issuer": issuer.token("olga", ["operators"], iss="https://evil.test"),
        "for another audience": issuer.token("olga", ["operators"], aud="other"),
        "signed by another": Issuer().token("olga", ["operators"]),
        "tampered": tampered(good),
        "of no type": issuer.sign({"alg": "ES256", "kid": KID, "typ": "JWT"}, {"iss": URL, "sub": "olga"}),
        "of hugging face": "hf_" + "a" * 34,
        "bound to a key": issuer.token("olga", ["operators"], cnf={"jkt": "x"}),
        "nothing": "x",
    }


def test_no_credential_but_a_good_token_is_anybodys(stack: Stack, text: dict[str, Any]) -> None:
    before = state_of(stack)
    for name, token in bad_tokens(stack).items():
        reply = ask(stack, token, applying(with_sales(text)))
        assert reply.status == 401, name
        assert "Bearer" in reply.headers["www-authenticate"] and "done" not in reply.json, name
        for secret in ("m1", "m2", "olga", "operator", "nightly"):
            assert secret not in reply.body.decode(), (name, secret)
    assert ask(stack, None, {"do": "policy"}, Authorization="Basic b2xnYTp4").status == 401
    assert state_of(stack) == before


def test_an_agent_is_no_operator(stack: Stack, text: dict[str, Any]) -> None:
    token = stack.issuer.token("olga", ["operators"], act={"sub": "agent-1"})
    assert ask(stack, token, applying(with_sales(text))).status == 403


def test_a_workloads_certificate_is_none_and_says_why(stack: Stack, operator: str, tmp_path: Path) -> None:
    out = tmp_path / "svid"
    command = [
        sys.executable,
        "-m",
        "meshward",
        "svid",
        "scorer",
        "--out",
        str(out),
        "--state",
        str(stack.state),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    for token in (None, operator):
        reply = stack.call("POST", CONTROL, token, {"do": "policy"}, certificate=out / "svid.pem")
        assert (reply.status, reply.json["error_type"]) == (403, "workload_refused")
        assert "certificate" in reply.json["error"]


def test_no_page_in_a_browser_can_ask(stack: Stack, text: dict[str, Any], operator: str) -> None:
    request, before = applying(with_sales(text)), state_of(stack)
    for origin in ("https://evil.test", "null", f"https://localhost:{stack.port}"):
        reply = ask(stack, operator, request, Origin=origin)
        assert (reply.status, reply.json["error_type"]) == (403, "browser_refused")
        assert not set(HEADERS) & set(reply.headers)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        reply = ask(stack, operator, json.dumps(request).encode(), Content_Type=kind)
        assert (reply.status, reply.json["error_type"]) == (415, "not_json")
    for method in ("GET", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH"):
        reply = stack.call(method, CONTROL, operator, headers={"Origin": "https://evil.test"})
        assert reply.status == 405 and not set(HEADERS) & set(reply.headers), method
    for host in ("evil.test", "127.0.0.1", "localhost.evil.test", f"evil.test:{stack.port}"):
        assert ask(stack, operator, request, Host=host).status == 421
    assert state_of(stack) == before


DEEP = b'{"do": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
BODIES = {
    "empty": (b"", 400),
    "no json": (b"{", 400),
    "a list": (b"[]", 400),
    "deep": (DEEP, 400),
    "given twice": (b'{"do": "history", "do": "apply"}', 400),
    "another verb": (b'{"do": "shutdown"}', 400),
    "no verb": (b'{"do": ["history"]}', 400),
    "an inner name": (b'{"do": "__class__"}', 400),
    "another field": (b'{"do": "history", "author": "root"}', 400),
    "another type": (b'{"do": "rollback", "revision": "1"}', 400),
    "not utf-8": (b'{"do": "\xff"}', 400),
    "NaN": (b'{"do": "rollback", "revision": NaN}', 400),
    "a broken policy": (b'{"do": "apply", "policy": "x: ["}', 422),
    "a long reason": (b'{"do": "rollback", "revision": 1, "reason": "%s"}' % (b"x" * 1001), 400),
    "a long subject": (b'{"do": "revoke", "subject": "%s"}' % (b"x" * 8193), 400),
    "no year that there is": (b'{"do": "revoke", "subject": "test:x", "until": 1%s}' % (b"0" * 30), 400),
    "an overlap of ages": (
        b'{"do": "rotate", "what": "ca", "root": true, "overlap": 1%s}' % (b"0" * 18),
        400,
    ),
    "no policy": (b'{"do": "apply", "policy": "{}"}', 422),
    "too large": (b" " * (CONTROL_BODY + 1), 413),
}


@pytest.mark.parametrize("name", sorted(BODIES))
def test_a_body_that_asks_for_nothing_changes_nothing(
    stack: Stack, text: dict[str, Any], operator: str, name: str
) -> None:
    body, status = BODIES[name]
    before = state_of(stack)
    reply = ask(stack, operator, body)
    assert reply.status == status, reply.body
    assert "Traceback" not in reply.body.decode() and state_of(stack) == before
    assert ask(stack, operator, {"do": "history"}).status == 200


def test_no_secret_is_given_from_afar(stack: Stack, operator: str) -> None:
    reply = ask(
        stack,
        operator,
        {"do": "rotate", "what": "credential", "name": "hf", "value": "of an account of theirs"},
    )
    assert reply.status == 422 and reply.json["failed"]["code"] == "MW3071", reply.body


def _waits(connection: socket.socket) -> bool:
    """Whether nothing was said on it yet."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except ssl.SSLWantReadError:
        return True
    return False


def test_slow_bodies_of_others_do_not_keep_an_operator_out(stack: Stack, operator: str) -> None:
    host = f"{stack.hostname}:{stack.port}"
    head = f"POST {CONTROL} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n"
    held: list[socket.socket] = []
    try:
        for _ in range(6):
            # From an address of their own: the one of the other tests may have used up its requests.
            plain = socket.create_connection(("127.0.0.1", stack.port), source_address=("127.0.0.7", 0))
            held.append(stack.tls().wrap_socket(plain, server_hostname="localhost"))
            held[-1].sendall(f"{head}Authorization: Bearer {operator}\r\n\r\n{{".encode())
        assert ask(stack, operator, {"do": "history"}).status == 200
        assert all(_waits(each) for each in held), "the slow ones are still under way"
    finally:
        for each in held:
            each.close()


def test_a_revoked_operator_is_refused_with_the_next_request(
    stack: Stack, text: dict[str, Any], operator: str
) -> None:
    ivan = stack.issuer.token("ivan", ["operators"])
    assert ask(stack, ivan, {"do": "history"}).status == 200
    assert ask(stack, operator, {"do": "revoke", "subject": "test:ivan"}).status == 200
    before = state_of(stack)
    reply = ask(stack, ivan, {"do": "revoke", "subject": "test:ivan", "until": 1})
    assert (reply.status, reply.json["error_type"]) == (401, "revoked")
    assert ask(stack, ivan, applying(with_sales(text))).status == 401
    assert state_of(stack) == before
    kept = change_by(stack, "test:ivan")
    assert (kept["outcome"], kept["facts"]["code"]) == ("refused", "MW3073")


def test_an_operator_who_is_none_any_more_is_refused_with_the_next_request(
    stack: Stack, text: dict[str, Any], operator: str
) -> None:
    changed = copy.deepcopy(text)
    changed["roles"]["operator"] = [{"issuer": "test", "group": "others"}]
    assert ask(stack, operator, applying(changed)).status == 422  # others gain the right: that widens
    assert ask(stack, operator, applying(changed, allow=["widening"])).status == 200
    assert ask(stack, operator, {"do": "history"}).status == 403
    changed["operators"] = {}
    apply(stack, policy_of(changed))
    for group in ("operators", "others", "bosses"):
        assert ask(stack, stack.issuer.token("x", [group]), {"do": "history"}).status == 403


def test_refusals_without_end_do_not_make_the_history_too_long_to_be_read(
    stack: Stack, text: dict[str, Any], operator: str
) -> None:
    """Anybody with a token can be refused five times a second; clients read a megabyte."""
    line = ChangeLine("", str(time.time()), "test:eve", "ask", REFUSED, json.dumps({"why": "x" * 200}))
    lines = [change_text(replace(line, id=f"{number:032x}")) for number in range(5000)]
    with (stack.run / CHANGES).open("a") as log:
        log.write("".join(f"{each}\n" for each in lines))
    eventually(lambda: len(changes(stack)) > 5000, what="the lines in the records")
    reply = ask(stack, operator, {"do": "history", "changes": True})
    assert reply.status == 200 and len(reply.body) < LONGEST_DOCUMENT
    told = reply.json["done"]
    assert told["more"] and told["changes"] and told["changes"] == changes(stack)[: len(told["changes"])]
    assert "more" in ask(stack, operator, {"do": "history"}).json["done"]


def test_no_server_is_one_of_our_own_sockets(stack: Stack, text: dict[str, Any]) -> None:
    """By a guard's admin socket its clients would read its configuration, and stop it."""
    ours = [
        *(stack.run / "guards" / "00" / name for name in ("admin.sock", "guard.sock")),
        stack.run / "decide" / "decide.sock",
        stack.run / "control" / "control.sock",
        stack.state / "control.sock",
    ]
    link = stack.policy.parent / "link.sock"
    link.symlink_to(ours[0])
    before = state_of(stack)
    for socket_file in (*ours, link):
        for key in ("url", "replicas"):
            changed = copy.deepcopy(text)
            url = f"unix:{socket_file}"
            changed["models"]["m2"]["versions"]["v1"][key] = url if key == "url" else [url]
            with pytest.raises(MeshwardError) as refused:
                apply(stack, policy_of(changed), allow=["widening"])
            told = refused.value
            assert (told.code.number, told.exit_code) == ("MW3013", Exit.UNSAFE), (socket_file, told.message)
            assert "meshward's own" in told.message
    assert state_of(stack) == before


def test_nothing_of_the_machine_can_be_named_from_afar(
    stack: Stack, text: dict[str, Any], operator: str
) -> None:
    before = state_of(stack)
    edits: list[tuple[str, Any]] = [
        ("credentials", {"c": {"from": "file", "path": "/etc/shadow"}}),
        ("credentials", {"c": {"from": "command", "command": ["/bin/touch", "/tmp/pwned"]}}),
        ("edge", {**text["edge"], "listen": "0.0.0.0:80"}),
        ("issuers", {"test": {**text["issuers"]["test"], "jwks": {"file": "/tmp/evil.json"}}}),
    ]
    for url in ("unix:/run/docker.sock", "http://127.0.0.1:9901"):
        edits.append(
            ("models", {**text["models"], "m3": {"versions": {"v1": {"server": "twofaced", "url": url}}}})
        )
    for key, value in edits:
        reply = ask(stack, operator, applying({**text, key: value}, allow=["widening"]))
        assert reply.status == 422, (key, reply.body)
        assert (reply.json["failed"]["code"], reply.json["failed"]["exit"]) == ("MW3071", Exit.UNSAFE)
    assert state_of(stack) == before


def test_of_two_operators_at_once_one_is_told_that_the_other_was_first(
    stack: Stack, text: dict[str, Any], operator: str
) -> None:
    base = stack.instance.revision
    wishes = []
    for name in ("a", "b"):
        changed = with_sales(text)
        changed["grants"][-1]["id"] = name
        wishes.append(applying(changed, base=base))
    replies: list[Any] = []
    threads = [threading.Thread(target=lambda w=w: replies.append(ask(stack, operator, w))) for w in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(reply.status for reply in replies) == [200, 409]
    (late,) = [reply for reply in replies if reply.status == 409]
    assert late.json["failed"]["exit"] == Exit.CONFLICT
    assert stack.instance.revision == base + 1


def test_what_the_audit_keeps_holds_no_token_and_no_policy(
    stack: Stack, text: dict[str, Any], operator: str
) -> None:
    changed = with_sales(text)
    changed["grants"][-1]["id"] = "grant-of-a-secret-kind"
    assert ask(stack, operator, applying(changed, reason="for the audit")).status == 200
    assert ask(stack, operator, {"do": "apply", "policy": "hf_" + "b" * 30}).status == 422
    change_by(stack, "test:olga")
    for file in [
        *(stack.run / "control").iterdir(),
        *stack.state.glob("records.sqlite*"),
        *(stack.state / "logs").iterdir(),
    ]:
        if not file.is_file():
            continue
        data = file.read_bytes()
        for secret in (operator, operator.split(".")[2], "hf_" + "b" * 30, "grant-of-a-secret-kind"):
            assert secret.encode() not in data, (file, secret[:12])


def test_what_cannot_be_written_down_is_not_changed(
    stack: Stack, text: dict[str, Any], operator: str
) -> None:
    """Here and from afar. The log's place is taken, as a full or broken disk would."""
    log = stack.run / "control" / "changes.log"
    aside, before = log.with_name("aside"), state_of(stack)
    eventually(lambda: not log.read_bytes().strip(b"\0"), what="the lines to be kept")
    log.rename(aside)
    log.mkdir()
    try:
        reply = ask(stack, operator, applying(with_sales(text)))
        assert (reply.status, reply.json["failed"]["code"]) == (502, "MW3070")
        with pytest.raises(MeshwardError) as refused:
            apply(stack, policy_of(with_sales(text)))
        assert refused.value.code.number == "MW3070" and state_of(stack) == before
        assert ask(stack, operator, {"do": "history"}).status == 200
    finally:
        log.rmdir()
        aside.rename(log)
    assert ask(stack, operator, applying(with_sales(text))).status == 200


def test_the_socket_is_the_edges_alone_and_ends_with_the_instance(stack: Stack) -> None:
    place = stack.run / "control"
    assert place.stat().st_mode & 0o7777 == 0o2710
    assert (place / "control.sock").stat().st_mode & 0o777 == 0o660
    assert (place / "control.sock").stat().st_gid == (stack.run / "edge").stat().st_gid


@pytest.fixture
def signed_in(stack: Stack, operator: str, tmp_path: Path) -> dict[str, str]:
    """An environment in which an operator is signed in at the edge."""
    edge = f"https://localhost:{stack.port}"
    root = stack.instance.root_certificate
    login = SavedLogin(
        edge, root, URL, "c", f"{URL}/token", None, "access", int(time.time()) + 600, Secret(operator), None
    )
    LoginStore(tmp_path / "meshward").save(login)
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path), "EDGE": edge}


def remote(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`meshward` on another machine: no state, only a login."""
    command = [sys.executable, "-m", "meshward", *arguments, "--edge", env["EDGE"]]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=90, check=False, env=env, cwd=env["XDG_STATE_HOME"]
    )


def test_the_command_plans_applies_and_rolls_back_from_another_machine(
    stack: Stack, text: dict[str, Any], signed_in: dict[str, str], tmp_path: Path
) -> None:
    before, policy = stack.instance.revision, tmp_path / "p.json"
    policy.write_text(json.dumps(with_sales(text)))
    planned = json.loads(remote(signed_in, "plan", str(policy), "--json").stdout)
    assert planned["base"] == before and planned["hops"] is None
    assert [each["permission"] for each in planned["change"]["gained"]] == ["m1.infer"]
    done = remote(signed_in, "apply", str(policy), "--plan", planned["plan"], "--reason", "from afar")
    assert done.returncode == 0 and "live at every hop" in done.stdout, done
    back = remote(signed_in, "rollback", str(before), "--json")
    assert json.loads(back.stdout)["revision"] == before + 2, back
    told = json.loads(remote(signed_in, "history", "--json").stdout)
    assert told["current"] == before + 2 and told["revisions"][1]["reason"] == "from afar"
    assert told["revisions"][1]["author"] == "test:olga"
    shown = remote(signed_in, "history", "--changes").stdout
    assert "test:olga  rollback  done" in shown, shown


def test_the_command_fails_from_afar_as_it_does_here(
    stack: Stack, text: dict[str, Any], signed_in: dict[str, str], tmp_path: Path
) -> None:
    wider, machine, broken = with_sales(text), copy.deepcopy(text), copy.deepcopy(text)
    wider["grants"].append({"id": "w", "roles": ["sales"], "models": "all", "actions": ["manage"]})
    machine["edge"]["listen"] = "127.0.0.1:1"
    broken["grants"][0]["models"] = ["m9"]
    for policy, code in ((wider, Exit.UNSAFE), (machine, Exit.UNSAFE), (broken, Exit.USAGE)):
        file = tmp_path / "p.json"
        file.write_text(json.dumps(policy))
        assert remote(signed_in, "apply", str(file)).returncode == code
    LoginStore(tmp_path / "meshward").save(
        SavedLogin(signed_in["EDGE"], stack.instance.root_certificate, URL, "c", f"{URL}/token", None, "access",
              int(time.time()) + 600, Secret(stack.issuer.token("eve", ["bosses"])), None)
    )  # fmt: skip
    refused = remote(signed_in, "history")
    assert refused.returncode == Exit.DENIED and "MW2115" in refused.stderr and "operators" in refused.stderr


def test_status_tells_that_records_are_kept(stack: Stack) -> None:
    command = [sys.executable, "-m", "meshward", "status", "--state", str(stack.state)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0 and "records are kept, last proof" in shown.stdout, shown
