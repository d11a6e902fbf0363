"""The edge inside of an nginx that is already there: it does what it does alone, and so do the servers beside it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import crossplane
import pytest
from edge_harness import _SHORT, DEADLINE, Edge

from meshward.apply.hop_files import lua_modules
from meshward.targets.nginx.include import include_files
from meshward.targets.nginx.settings import EdgeSettings
from meshward.targets.nginx.target import EdgePlace, view_in
from meshward.testing.stand_ins import free_port

# An nginx that keeps answers, changes them, believes anybody, and serves somebody else.
_STRANGER = """\
include {run}/include/main.conf;
daemon off;
worker_processes 1;
pid {run}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log {run}/others.log;
    client_body_temp_path {run}/t1;
    proxy_temp_path {run}/t2;
    fastcgi_temp_path {run}/t3;
    uwsgi_temp_path {run}/t4;
    scgi_temp_path {run}/t5;
    proxy_cache_path {run}/kept keys_zone=kept:1m;
    proxy_cache kept;
    proxy_cache_key everybody;
    proxy_cache_valid any 1h;
    auth_basic "strangers only";
    auth_basic_user_file {run}/nobody;
    add_header X-Strange yes always;
    merge_slashes on;
    server_tokens on;
    client_max_body_size 10;
    include {run}/include/http.conf;
    server {{
        listen 127.0.0.1:{other};
        auth_basic off;
        location / {{ return 200 "$uri"; }}
    }}
}}
"""


class Included(Edge):
    """The harness's edge, started by a stranger's file."""

    def files(self, settings: EdgeSettings) -> dict[str, bytes]:
        files = super().files(settings)
        self.other = free_port()
        included = include_files(view_in(settings), EdgePlace(settings, lua_modules()))
        files |= {name: _SHORT.sub(rb"\1 %ds;" % DEADLINE, data) for name, data in included.items()}
        files["nginx.conf"] = _STRANGER.format(run=self.run, other=self.other).encode()
        return files

    def _directories(self) -> None:
        super()._directories()
        (self.run / "include").mkdir()

    def ask_other(self, target: str) -> tuple[str, bytes]:
        """Its status line, and its body."""
        with socket.create_connection(("127.0.0.1", self.other), DEADLINE) as plain:
            plain.sendall(f"GET {target} HTTP/1.0\r\nHost: other\r\n\r\n".encode())
            with plain.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
        return head.decode("latin-1"), body


@pytest.fixture(scope="module")
def started() -> Iterator[Included]:
    edge = Included()
    try:
        yield edge.start()  # type: ignore[misc]
    finally:
        edge.stop()


@pytest.fixture
def edge(started: Included) -> Included:
    started.reset()
    return started


def test_it_decides_and_forwards(edge: Included) -> None:
    answer = edge.request("GET", "/m/minilm/embed")
    assert answer.status == 200 and answer.get("X-Strange") is None
    assert [seen.line for seen in edge.seen()] == ["GET /embed HTTP/1.1"]
    assert edge.request("GET", "/m/minilm/embed", token=None).status == 401


def test_no_answer_is_kept_for_anybody_else(edge: Included) -> None:
    for number in range(3):
        assert edge.request("GET", "/m/minilm/embed", token=f"ok{number}").status == 200
    assert len(edge.seen()) == 3


def test_its_own_rules_of_a_request_hold(edge: Included) -> None:
    assert edge.request("GET", "/m/minilm//embed").status == 400
    assert edge.request("POST", "/m/minilm/embed", body=b"x" * 1000).status == 200, "its own size of a body"
    assert edge.request("POST", "/m/minilm/embed", body=b"x" * 300_000).status == 413
    assert edge.request("GET", "/m/minilm/embed", Host="other.test").status in (400, 421)
    assert not [seen for seen in edge.seen() if "//" in seen.line]


def test_it_writes_its_own_log_and_no_line_of_anybodys(edge: Included) -> None:
    edge.request("GET", "/m/minilm/embed?secret=1")
    edge.ask_other("/theirs")
    others = (edge.run / "others.log").read_text()
    assert "/theirs" in others and "embed" not in others
    assert "theirs" not in (edge.run / "access.log").read_text()


def test_the_servers_beside_it_are_as_they_were(edge: Included) -> None:
    head, body = edge.ask_other("/a//b")
    assert body == b"/a/b", "theirs still merges slashes"
    assert "X-Strange: yes" in head and re.search(r"Server: nginx/[0-9]", head)


def test_nothing_of_it_is_said_for_all_servers(edge: Included) -> None:
    """Beside blocks: what nginx has once for all, zones and formats, each under a name of ours."""
    parsed = crossplane.parse(str(edge.run / "include/http.conf"), single=True, strict=False, check_ctx=False)
    plain = {each["directive"] for each in parsed["config"][0]["parsed"] if "block" not in each}
    assert plain == {
        *("lua_package_path", "lua_package_cpath", "init_by_lua_file", "init_worker_by_lua_file"),
        *("exit_worker_by_lua_file", "map_hash_bucket_size", "variables_hash_max_size", "log_format"),
        *("limit_req_zone", "limit_conn_zone"),
    }
