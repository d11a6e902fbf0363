"""gixy, and three checks of our own, over every shape of nginx.conf that the edge can have."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.hop_files import edge_files
from meshward.kit.errors import MeshwardError
from meshward.targets.nginx.settings import EdgeSettings
from tests.hardening import lint

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no rates": {"rates": ()},
    "many rates": {"rates": tuple(f"{n}r/s" for n in range(1, 60))},
    "IPv6 and one slot": {"listen_host": "::1", "slots": 1},
    "large and slow": {"max_body": 64 << 20, "longest_timeout": 3600, "workers": 8, "slots": 100},
    "an nginx without max_headers": {"max_headers": False},
    "odd names": {"hostname": "default", "run_dir": "/run/m w/édge".replace("é", "e")},
}

# What gixy says of each of them, and why it stays. (check, what its finding names): why.
HARMLESS = {
    ("weak_ssl_tls", "ECDHE+AESGCM:ECDHE+CHACHA20"): "all of them forward secret AEADs; gixy knows some names only",
    ("hsts_header", "server"): "an API without pages, cookies or a plain-HTTP twin: there is nothing to downgrade to",
    ("worker_rlimit_nofile_vs_connections", "worker_connections"): "the runtime raises the limit for every part",
    ("missing_resolver", "$mw_upstream"): "all upstreams are unix sockets: no name is ever resolved",
    ("http_splitting", "$mw_message"): "lua/decision.lua: printable ASCII, or one of our own sentences",
    ("http_splitting", "$mw_challenge"): "lua/refusals.lua: printable ASCII, or made of a host that is ours",
    ("http_splitting", "$mw_retry"): "lua/refusals.lua: a whole number",
    ("http_splitting", "$mw_model"): "percent-encoded",
    ("http_splitting", "$mw_path"): "a piece of a request line that the gate found canonical: no `%`, no control",
    ("http_splitting", "$mw_front"): "`m` or `v1`",
    ("http_splitting", "$ssl_client_verify"): "behind the gate, which passes NONE and SUCCESS alone",
    ("http_splitting", "$ssl_client_escaped_cert"): "nginx escapes it, as its name says",
    ("http_splitting", "$uri"): "behind the gate, where a path holds no `%`: decoded and raw are the same",
    ("http_splitting", "$mw_upstream"): "a scheme and the name of an upstream of this file: lua/place.lua",
    ("http_splitting", "$mw_target"): "a piece of a request line that the gate found canonical",
    ("http_splitting", "$mw_reqd"): "44 characters of base64, made by lua/digest.lua",
    ("http_splitting", "$mw_codings"): "one word of our own",
    ("http_splitting", "$mw_counted"): "a request's id, as nginx makes them: hex digits",
    ("http_splitting", "$mw_d_txn"): "lua/decision.lua: three parts of base64url",
    ("http_splitting", "$mw_net"): "lua/crowd.lua: an address, or hex digits",
    ("nginx_cves", "CVE-2026-9256"): "in `rewrite`: there is none; and without the fix no nginx starts",
    ("nginx_cves", "CVE-2026-1642"): "without the fix no nginx starts",
}  # fmt: skip


def _written(directory: Path, **changes: Any) -> Path:
    """The program for a shape of settings, as files. gixy gets the oldest nginx there is: its worst opinion."""
    settings = EdgeSettings(
        **{
            "listen_host": "127.0.0.1",
            "listen_port": 8443,
            "hostname": "models.test",
            "run_dir": "/run/mw/edge",
            "decision_socket": "/run/mw/decide.sock",
            "control_socket": "/run/mw/control.sock",
            "guard_socket": "/run/mw/{slot}/guard.sock",
            "root_bundle": "/run/mw/edge/certs/root.pem",
            "rates": ("10r/s", "1r/m"),
            **changes,
        }
    )
    (directory / "lua" / "phases").mkdir(parents=True)
    for name, data in edge_files(settings).items():
        (directory / name).write_bytes(data)
    return directory / "nginx.conf"


def _key(conf: Path) -> str:
    return (conf.parent / "lua" / "key.lua").read_text()


def _gixy(conf: Path) -> list[dict[str, Any]]:
    """What Lua sets is whatever a stranger sends, to gixy: it takes the empty value in the file for the only one."""
    unset = re.compile(r'map "" (\$mw_\w+) \{\s+default "";')
    text, count = unset.subn(r"map $uri \1 { default $uri;", conf.read_text())
    assert count > 20
    conf.write_text(text)
    command = [sys.executable, "-m", "gixy", "-f", "json", "--nginx-version", "1.22.1", str(conf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("["), done.stderr
    return json.loads(done.stdout)


def _known(finding: dict[str, Any]) -> tuple[str, str] | None:
    """The entry of HARMLESS that it is: the same check, and the very thing it names."""
    said = finding["reason"] + finding["config"].replace("{", "").replace("}", "")
    for entry in HARMLESS:
        check, thing = entry
        if finding["plugin"] == check and thing in (finding["reason"] if check == "http_splitting" else said):
            return entry
    return None


@pytest.mark.parametrize("shape", SHAPES)
def test_gixy_finds_nothing_that_is_not_explained(shape: str, tmp_path: Path) -> None:
    found = _gixy(_written(tmp_path, **SHAPES[shape]))
    assert [(f["plugin"], f["reason"], f["config"]) for f in found if _known(f) is None] == []


def test_every_explanation_is_still_of_something(tmp_path: Path) -> None:
    assert {_known(finding) for finding in _gixy(_written(tmp_path))} == set(HARMLESS)


def test_gixy_is_awake(tmp_path: Path) -> None:
    conf = _written(tmp_path)
    hole = "server { location /i { alias /srv/images/; } add_header X-Bad $arg_x$uri; "
    conf.write_text(
        conf.read_text().replace("server {\n        listen 127", hole + "\n        listen 127", 1)
    )
    assert hole in conf.read_text()
    assert {f["plugin"] for f in _gixy(conf) if _known(f) is None} >= {"alias_traversal"}


@pytest.mark.parametrize("shape", SHAPES)
def test_our_own_checks_find_nothing(shape: str, tmp_path: Path) -> None:
    conf = _written(tmp_path, **SHAPES[shape])
    assert list(lint.error_page_to_a_server(conf)) == []
    assert list(lint.key_misses_an_input(conf, _key(conf))) == []
    assert list(lint.kept_decision(conf)) == []


def _with(conf: Path, after: str, line: str) -> Path:
    """`conf` with `line` put in after the first line that holds `after`."""
    text = conf.read_text()
    assert after in text
    head, found, tail = text.partition(after)
    rest, newline, end = tail.partition("\n")
    conf.write_text(head + found + rest + newline + line + "\n" + end)
    return conf


@pytest.mark.parametrize(
    ("after", "line"),
    [
        ("location ^~ /m/ {", "error_page 500 503 = @fallback;"),
        ("location ^~ /m/ {", "error_page 500 https://elsewhere.test/;"),
        ("location ^~ /v1/ {", "error_page 503 = /v1/again;"),
        ("location ^~ /v1/ {", "error_page 502 = /m/other/x;"),
        ("location ^~ /m/ {", "error_page 502 = /.well-known/oauth-protected-resource;"),
        ("default_server;", "error_page 500 = /m/other/x;"),
        ("init_by_lua_file", "error_page 500 = /v1/x;"),
        ("default_server;", "error_page 500 = @open; location @open { proxy_pass http://mw_decide; }"),
        ("default_server;", "error_page 500 = /open/x; location /open/ { proxy_pass http://mw_decide; }"),
    ],
)
def test_an_error_page_that_ends_at_a_server_is_found(tmp_path: Path, after: str, line: str) -> None:
    assert list(lint.error_page_to_a_server(_with(_written(tmp_path), after, line)))


@pytest.mark.parametrize(
    "sent",
    [
        "$http_user_agent",
        "$ssl_client_fingerprint",
        "$args",
        "x-$http_cookie",
        "${cookie_tenant}",
        "$request_uri",
    ],
)
def test_a_question_with_an_input_that_no_key_has_is_found(tmp_path: Path, sent: str) -> None:
    conf = _with(_written(tmp_path), "location = /_decide {", f'proxy_set_header X-Mw-More "{sent}";')
    assert list(lint.key_misses_an_input(conf, _key(conf)))


@pytest.mark.parametrize(
    ("dropped", "variable"),
    [
        ('raw.get("request")', "mw_method"),
        ('"remote_addr", ', "remote_addr"),
        ('"ssl_client_verify", ', "ssl_client_verify"),
        ('"ssl_client_escaped_cert", ', "ssl_client_escaped_cert"),
        (', "http_authorization"', "http_authorization"),
    ],
)
def test_a_key_that_lost_an_input_is_found(tmp_path: Path, dropped: str, variable: str) -> None:
    conf = _written(tmp_path)
    assert dropped in _key(conf)
    found = list(lint.key_misses_an_input(conf, _key(conf).replace(dropped, "", 1)))
    assert any(f"`${variable}`" in each for each in found)


@pytest.mark.parametrize(
    ("after", "line"),
    [
        ("location = /_decide {", "proxy_cache x;"),
        ("location = /_decide {", "proxy_cache_use_stale updating;"),
        ("location = /_decide {", "proxy_cache_background_update on;"),
        ("default_server;", "proxy_cache_use_stale error;"),
        ("init_by_lua_file", "proxy_cache_use_stale error;"),
    ],
)
def test_a_decision_that_nginx_keeps_is_found(tmp_path: Path, after: str, line: str) -> None:
    assert list(lint.kept_decision(_with(_written(tmp_path), after, line)))


def test_the_crowd_of_an_address_is_counted_before_anybody_is_asked_and_a_body_is_read(
    tmp_path: Path,
) -> None:
    handler = (_written(tmp_path).parent / "lua" / "request.lua").read_text()
    main = handler[handler.rindex("return function()") :]
    assert main.index("crowd.enter") < main.index("attempt(")
    attempt = handler[handler.index("local function attempt(") :]
    assert attempt.index("decide(") < attempt.index("named(") < attempt.index("pass(")
    with pytest.raises(MeshwardError):
        _written(tmp_path / "none", open_per_address=0)
