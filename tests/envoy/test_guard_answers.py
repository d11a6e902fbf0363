"""What a guard says when it refuses, and what it writes down about every request."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest
from guard_harness import EDGE, Guard, Model, read_answer, running
from guard_pki import claims

from meshward.audit.lines import GuardLine, parse
from meshward.testing.waiting import eventually

BEGUN = 4  # seconds in which a model of ours begins to answer, on a busy machine too
KEYS = {
    "v",
    "hop",
    "rid",
    "t",
    "conn",
    "uid",
    "method",
    "path",
    "status",
    "flags",
    "details",
    "bytes",
    "bytes_in",
    "dur",
    "peer",
    "serial",
    "who",
    "told_reqd",
    "guard",
    "upstream",
}


@pytest.mark.parametrize(
    ("target", "method", "token", "status", "reason"),
    [
        ("/embed", "POST", None, 401, "guard_no_token"),
        ("/v1/embeddings", "POST", None, 401, "guard_no_token"),
        ("/embed", "POST", "manage", 403, "guard_forbidden"),
        ("/v1/public", "POST", "manage", 403, "guard_forbidden"),
        ("/v1/none", "GET", "infer", 403, "guard_forbidden"),
        ("/a%2fb", "GET", "infer", 400, "guard_refused"),
    ],
)
def test_refusals_have_the_shape_of_their_family(
    guard: Guard, target: str, method: str, token: str | None, status: int, reason: str
) -> None:
    answer = guard.ask(target, method, token=token and guard.token(token))
    assert answer.status == status
    assert answer.headers["x-mw-layer"] == "guard"
    assert answer.headers["x-mw-reason"] == reason
    assert answer.headers["content-type"] == "application/json"
    message = answer.headers["x-error-message"]
    common = {"request_id": "rid-1", "layer": "guard"}
    if target.startswith("/v1/"):
        error = {"message": message, "type": "invalid_request_error", "code": reason, "param": None}
        assert answer.json == {"error": error, **common}
    else:
        assert answer.json == {"error": message, "error_type": reason, **common}
    assert message.isascii() and message.isprintable() and len(message) <= 200


def test_a_refusal_tells_nothing_of_the_token_or_the_query(guard: Guard) -> None:
    answer = guard.ask("/embed?key=canary", token="canary.canary.canary")
    assert "canary" not in f"{answer.headers}{answer.body!r}"


def test_a_hostile_request_id_stays_inside_its_string(guard: Guard) -> None:
    rid = '","admin":true,"x":"\x7f\\'
    answer = guard.ask(token=None, headers=(("X-Request-Id", rid),))
    assert set(answer.json) == {"error", "error_type", "request_id", "layer"}


def test_a_net_for_each_subject_and_grant() -> None:
    with running() as guard:

        def statuses(sub: str, grant: str, count: int) -> list[int]:
            tctx = {"model": "m.1", "action": "infer", "grant": grant, "rev": "7"}
            return [guard.ask(token=guard.token(sub=sub, tctx=tctx)).status for _ in range(count)]

        assert statuses("okta:a", "g-2", 3) == [200, 200, 429]
        assert statuses("okta:b", "g-2", 3) == [200, 200, 429]
        assert statuses("okta:a", "g-3", 4) == [200, 200, 200, 429]
        assert statuses("okta:a", "g-2", 1) == [429]
        assert statuses("okta:a", "g-free", 10) == [200] * 10
        tctx = {"model": "m.1", "action": "infer", "grant": "g-2", "rev": "7"}
        answer = guard.ask("/v1/public", token=guard.token(tctx=tctx, sub="okta:a"))
        assert answer.status == 429
        assert answer.headers["retry-after"] == "1"
        assert answer.json["error"]["code"] == "guard_rate_limited"  # type: ignore[index]
        assert guard.log_lines(22)[-1]["flags"] == "RL"


def test_refused_requests_do_not_count() -> None:
    with running() as guard:
        tctx = {"model": "m.1", "action": "infer", "grant": "g-2", "rev": "7"}
        token = guard.token(tctx=tctx)
        assert [guard.ask("/v1/secret", token=token).status for _ in range(5)] == [403] * 5
        assert [guard.ask(token=token).status for _ in range(3)] == [200, 200, 429]


def test_more_subjects_than_a_limit_refill_nobody() -> None:
    """Eviction refills a bucket: the room for identities must be above what one interval sees."""
    with running() as guard:
        tctx = {"model": "m.1", "action": "infer", "grant": "g-2", "rev": "7"}
        connection = guard.connect()

        def ask(sub: str) -> int:
            return guard.ask(token=guard.token(sub=sub, tctx=tctx), connection=connection).status

        assert [ask("okta:first"), ask("okta:first")] == [200, 200]
        assert all(ask(f"okta:{number}") == 200 for number in range(100))
        assert ask("okta:first") == 429


def test_a_dead_model_is_a_503_of_ours() -> None:
    with running() as guard:
        guard.model.close()
        Path(guard.model.path).unlink()
        answer = guard.ask()
        assert (answer.status, answer.json["error_type"]) == (503, "guard_unavailable")
        assert answer.headers["x-mw-layer"] == "guard"
        line = guard.log_lines(1)[0]
        assert "URX" in str(line["flags"])
        revived = Model(guard.model.path)
        assert guard.ask().status == 200
        revived.close()


def test_a_request_that_the_model_may_have_begun_runs_once(guard: Guard) -> None:
    guard.model.hang_up.set()
    try:
        assert guard.ask().status == 503
    finally:
        guard.model.hang_up.clear()
    assert len(guard.model.seen) == 1


def test_a_silent_model_is_a_504_after_the_models_timeout() -> None:
    with running(timeout=1) as guard:
        guard.model.mute.set()
        answer = guard.ask()
        eventually(lambda: len(guard.model.seen) == 1, what="the request at a model that was slow to read it")
        assert guard.model.mute.is_set(), "it still says nothing"
        assert (answer.status, answer.json["error_type"]) == (504, "guard_timeout")


def test_a_request_that_lasts_too_long_is_another_504() -> None:
    with running(timeout=30, max_duration=1) as guard:
        guard.model.mute.set()
        native, openai = guard.ask(), guard.ask("/v1/embeddings")
        eventually(lambda: len(guard.model.seen) == 2, what="both, at a model that was slow to read them")
        assert guard.model.mute.is_set()
        assert (native.status, native.json["error_type"]) == (504, "time_over")
        assert (openai.status, openai.json["error"]["code"]) == (504, "time_over")
        assert native.headers["x-mw-reason"] == "time_over"
        assert {line["flags"] for line in guard.log_lines(2)} == {"UT"}


@pytest.mark.parametrize(
    ("how", "limits", "flag"),
    [
        ("dripping", {"timeout": 30, "max_duration": BEGUN}, "UT"),
        ("streaming", {"timeout": 30, "max_duration": BEGUN}, "UT"),
        ("streaming", {"timeout": BEGUN, "max_duration": 30}, "SI"),
    ],
)
def test_an_answer_that_is_not_whole_in_its_time_breaks_off(
    how: str, limits: dict[str, int], flag: str
) -> None:
    """One byte every so often is no silence."""
    with running(**limits) as guard:
        getattr(guard.model, how).set()
        with pytest.raises((EOFError, ConnectionError)):
            guard.ask()
        assert getattr(guard.model, how).is_set(), "it would go on"
        (line,) = guard.log_lines(1)
        assert flag in str(line["flags"]).split(",") and line["status"] == "200", line


def test_the_log_line_of_a_permitted_request() -> None:
    with running() as guard:
        digest = "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"
        before = time.time()
        assert guard.ask("/embed?key=canary-query", headers=(("Content-Digest", digest),)).status == 200
        (line,) = guard.log_lines(1)
        assert set(line) == KEYS
        assert all(isinstance(value, str) for value in line.values())
        assert before - 1 <= float(str(line["t"])) <= time.time() + 1, "when it was asked, by the second"
        assert line | {"t": "", "uid": "", "serial": "", "dur": "", "conn": ""} == {
            "v": "1",
            "hop": "guard",
            "rid": "rid-1",
            "t": "",
            "conn": "",
            "uid": "",
            "method": "POST",
            "path": "/embed",
            "status": "200",
            "flags": "-",
            "details": "via_upstream",
            "bytes": "6",
            "bytes_in": "2",
            "dur": "",
            "peer": EDGE,
            "serial": "",
            "who": "7 g-free 0d5e2e3a-1b9c-4f0e-9f65-6f2d3c1f7a10 m.1.infer okta:alice",
            "told_reqd": digest,
            "guard": guard.view.dns_name,
            "upstream": guard.model.path,
        }


def test_every_answered_request_has_one_line_and_claims_only_after_the_signature() -> None:
    with running() as guard:
        guard.ask(token=None)
        guard.ask(token=guard.signer.sign({"sub": "okta:forged"}))
        guard.ask(token=guard.token("manage"))
        guard.ask("/none")
        guard.ask()
        lines = guard.log_lines(5)
        assert [line["status"] for line in lines] == ["401", "401", "403", "403", "200"]
        assert [line.get("who", "").endswith("okta:alice") for line in lines] == [False] * 4 + [True]
        assert not any(line.get("who") for line in lines[:4]), "an audience is compared before a signature"
        assert len({line["uid"] for line in lines}) == 5


def test_what_is_refused_after_the_token_names_who_was_refused() -> None:
    with running(revoked=("okta:eve",)) as guard:
        tctx = {"model": "m.1", "action": "infer", "grant": "g-2", "rev": "7"}
        asked = [
            guard.ask(token=guard.token(sub=sub, tctx=tctx)).status for sub in ("okta:eve", *["okta:a"] * 3)
        ]
        assert asked == [403, 200, 200, 429]
        subjects = [str(line["who"]).split(" ")[-1] for line in guard.log_lines(4)]
        assert subjects == ["okta:eve", "okta:a", "okta:a", "okta:a"]


def test_the_line_reads_back_as_what_the_edge_compares_with() -> None:
    """Whatever a subject holds: it stands last."""
    with running() as guard:
        subjects = ("okta:alice", "okta:al ice", 'x:","who":"1 ', "x: - - - -", "x:a:b")
        for sub in subjects:
            guard.ask(token=guard.token(sub=sub))
        for line, sub in zip(guard.log_lines(5), subjects, strict=True):
            (read,) = parse(json.dumps(line).encode(), "guard")
            assert isinstance(read, GuardLine)
            assert (read.sub, read.scope, read.grant, read.rev) == (sub, "m.1.infer", "g-free", "7")
            assert (read.txn, read.model, read.action) == (str(claims()["txn"]), "m.1", "infer")


def test_no_secret_in_any_file_but_the_svid_s() -> None:
    with running() as guard:
        token = guard.token()
        for target in ("/embed?api_key=canary-query", f"/embed?access_token={token}", "/none?canary-query"):
            guard.ask(
                target, token=token, headers=(("Authorization", "Bearer canary-auth"),), body=b"canary-body"
            )
        guard.ask(token="canary-token")
        guard.log_lines(4)
        key_body = guard.identity.key.reveal().splitlines()[1]
        for path in (each for each in guard.directory.rglob("*") if each.is_file()):
            text = path.read_text()
            assert "canary" not in text, path
            assert token not in text, path
            assert token.split(".")[1] not in text, path
            assert (key_body in text) == (path.name == "svid.json"), path
        arguments = Path(f"/proc/{guard.process.pid}/cmdline").read_text()
        assert key_body not in arguments and token not in arguments


def test_hostile_claims_stay_inside_their_strings() -> None:
    sub = 'okta:","admin":"1\n\x00\x1b\u2028}{'
    with running() as guard:
        assert guard.ask(token=guard.token(sub=sub)).status == 200
        (line,) = guard.log_lines(1)
        assert str(line["who"]).endswith(f" {sub}")
        assert set(line) <= KEYS


def test_claims_of_another_type_are_logged_as_text() -> None:
    with running() as guard:
        tctx = {"model": ["m.1"], "action": 7, "grant": "g-free", "rev": None}
        assert guard.ask(token=guard.token(scope=["a", "b"], txn=7, tctx=tctx)).status == 200
        (line,) = guard.log_lines(1)
        assert all(isinstance(value, str) for value in line.values())
        assert line["who"] == "- g-free 7 m.1.infer okta:alice"


def test_file_modes() -> None:
    with running() as guard:
        guard.ask()
        guard.log_lines(1)
        want = {"guard.sock": 0o660, "admin.sock": 0o600, "access.log": 0o600, "guard.json": 0o600}
        for name, mode in want.items():
            assert stat.S_IMODE((guard.directory / name).stat().st_mode) == mode, name


def test_a_stream_is_not_cut_by_a_change_of_rules() -> None:
    with running() as guard:
        guard.model.streaming.set()
        connection = guard.connect()
        token = guard.token()
        connection.sendall(
            f"POST /embed HTTP/1.1\r\nHost: {guard.view.dns_name}\r\nTxn-Token: {token}\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )
        eventually(lambda: guard.model.seen, what="the stream has begun")
        guard.apply(guard.render(routes=()))
        assert guard.ask().status == 403
        guard.model.streaming.clear()
        assert read_answer(connection).body == b"onetwo"


def test_json_bodies_end_their_line(guard: Guard) -> None:
    assert json.loads(guard.ask(token=None).body)["layer"] == "guard"
