"""What the program is, read as nginx reads it, and what it may never hold."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crossplane
import other_nginx
import pytest
from edge_harness import nginx_binary

from meshward.apply.hop_files import edge_files
from meshward.kit.errors import MeshwardError
from meshward.spiffe.placeholder import placeholder_certificate
from meshward.targets.nginx.settings import EdgeSettings


def _settings(directory: Path, **changes: Any) -> EdgeSettings:
    return EdgeSettings(
        **{
            "listen_host": "127.0.0.1",
            "listen_port": 8443,
            "hostname": "models.test",
            "run_dir": str(directory),
            "decision_socket": "/run/mw/decide.sock",
            "control_socket": "/run/mw/control.sock",
            "guard_socket": "/run/mw/{slot}/guard.sock",
            "root_bundle": f"{directory}/root.pem",
            "rates": ("10r/s", "1r/m", "600r/m"),
            **other_nginx.settings(),
            **changes,
        }
    )


def _directives(
    tree: list[dict[str, Any]], inside: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for directive in tree:
        yield inside, directive
        name = " ".join([directive["directive"], *directive["args"]])
        yield from _directives(directive.get("block", []), (*inside, name))


def _parse(directory: Path, **changes: Any) -> list[tuple[tuple[str, ...], Any]]:
    conf = directory / "nginx.conf"
    conf.write_bytes(edge_files(_settings(directory, **changes))["nginx.conf"])
    parsed = crossplane.parse(str(conf), single=True, strict=False, check_ctx=False)
    return list(_directives(parsed["config"][0]["parsed"]))


def test_equal_settings_give_equal_bytes(tmp_path: Path) -> None:
    assert edge_files(_settings(tmp_path)) == edge_files(_settings(tmp_path))


@pytest.mark.parametrize(
    "hostname", ["models.test", "default", "include", "volatile", "a" * 60 + "." + "b" * 60 + ".test"]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_nginx_accepts_it(tmp_path: Path, hostname: str, host: str) -> None:
    for directory in ("certs", "lua/phases"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "certs/none.pem").write_text(placeholder_certificate().reveal())
    (tmp_path / "root.pem").write_bytes(_root())
    for name, data in edge_files(_settings(tmp_path, hostname=hostname, listen_host=host)).items():
        (tmp_path / name).write_bytes(data)
    command = [nginx_binary(), "-t", "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    judged = subprocess.run(command, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stderr
    assert "[warn]" not in judged.stderr.replace("worker_connections exceed open file", "")


def _root() -> bytes:
    from nginx_pki import Pki

    return Pki().root_pem


def test_it_holds_none_of_the_directives_that_open_doors(tmp_path: Path) -> None:
    names = {directive["directive"] for _, directive in _parse(tmp_path)}
    never = (
        "rewrite alias root try_files proxy_cache_use_stale proxy_cache_background_update satisfy proxy_store"
    )
    assert not names & {*never.split(), "set", "resolver", "proxy_cache_bypass", "sub_filter", "autoindex"}


def test_an_error_never_ends_at_another_server(tmp_path: Path) -> None:
    parsed = _parse(tmp_path)
    targets = {d["args"][-1].split("/_err/")[0] for _, d in parsed if d["directive"] == "error_page"}
    assert targets == {"", "@limited"}
    for inside, directive in parsed:
        if any("/_err/" in place or "@limited" in place for place in inside):
            assert not directive["directive"].startswith(("proxy_", "content_")), directive


def test_an_if_does_nothing_but_return(tmp_path: Path) -> None:
    inside = [d["directive"] for place, d in _parse(tmp_path) if place and place[-1].startswith("if ")]
    assert set(inside) == {"return"}
    assert len(inside) > 10


def test_every_location_from_outside_begins_with_the_whole_gate(tmp_path: Path) -> None:
    servers = [d for _, d in _parse(tmp_path) if d["directive"] == "server" and "block" in d]
    (outer,) = [s for s in servers if any(d["args"][-1:] == ["default_server"] for d in s["block"])]
    locations = [
        d for d in outer["block"] if d["directive"] == "location" and not d["args"][0].startswith("@")
    ]
    open_ones = [d["block"] for d in locations if d["block"][0]["directive"] != "internal"]
    assert len(open_ones) == 9
    for inner in open_ones:
        if inner[0]["directive"] == "rewrite_by_lua_file":
            continue  # it asks the gate itself, of each request that nothing is remembered of
        checked = [d["args"][0].strip("($") for d in inner if d["directive"] == "if"][:7]
        assert checked == [
            "mw_host",
            "mw_method",
            "mw_canonical",
            "http_upgrade",
            "mw_peer",
            "mw_query_token",
            "mw_credential",
        ]


def test_every_way_to_a_guard_passes_a_decision(tmp_path: Path) -> None:
    """Only two locations know guards, and each begins with the handler that decides."""
    locations = [d for _, d in _parse(tmp_path) if d["directive"] == "location"]
    to_guards = [x for x in locations if any("mw_upstream" in str(d["args"]) for d in x["block"])]
    assert [x["args"] for x in to_guards] == [["^~", "/m/"], ["^~", "/v1/"]]
    for each in to_guards:
        first = each["block"][0]
        assert first["directive"] == "rewrite_by_lua_file" and first["args"][0].endswith("/request.lua")
    proxying = [
        " ".join(x["args"]) for x in locations if any(d["directive"] == "proxy_pass" for d in x["block"])
    ]
    metadata, whoami = "/.well-known/oauth-protected-resource", "= /.well-known/meshward/whoami"
    control = "= /.meshward/control"
    assert proxying == [
        "= /_decide",
        f"= {metadata}",
        f"^~ {metadata}/m/",
        whoami,
        control,
        "^~ /m/",
        "^~ /v1/",
        "= /decide",
    ]


def test_every_variable_that_lua_sets_is_one_that_nginx_reads(tmp_path: Path) -> None:
    """Of a variable that nothing in its file reads nginx keeps no place: setting it would throw."""
    files = edge_files(_settings(tmp_path, rates=()))
    lua = "\n".join(text.decode() for name, text in files.items() if name.startswith("lua/"))
    assignments = re.findall(r"^ *((?:(?:ngx\.)?var\.mw_\w+(?:, )?)+) = ", lua, re.MULTILINE)
    written = {name for each in assignments for name in re.findall(r"mw_\w+", each)}
    assert len(written) > 20
    read = re.findall(r"^    map (\S+) \$mw_told ", files["nginx.conf"].decode(), re.MULTILINE)
    assert written <= set(re.findall(r"mw_\w+", read[0]))


def test_a_body_can_never_be_put_into_a_file(tmp_path: Path) -> None:
    sizes: dict[tuple[str, ...], dict[str, Any]] = {}
    for inside, d in _parse(tmp_path):
        if d["directive"] in ("client_max_body_size", "client_body_buffer_size"):
            sizes.setdefault(inside, {})[d["directive"]] = d["args"]
    assert len(sizes) == 2
    for each in sizes.values():
        (most,), (room,) = each["client_max_body_size"], each["client_body_buffer_size"]
        assert int(most) <= int(room)


def test_bursts_make_a_token_bucket(tmp_path: Path) -> None:
    limits = {
        tuple(d["args"])
        for inside, d in _parse(tmp_path)
        if d["directive"] == "limit_req" and "location ^~ /m/" in inside
    }
    assert limits == {
        ("zone=mw_10s", "burst=9", "nodelay"),
        ("zone=mw_1m", "nodelay"),
        ("zone=mw_600m", "burst=599", "nodelay"),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"hostname": "Models.test"},
        {"hostname": "a b"},
        {"hostname": "x; } location / { return 200 pwn; } #"},
        {"hostname": "$host"},
        {"hostname": "a..b"},
        {"hostname": "models.test\n"},
        {"run_dir": "/tmp/$x"},
        {"run_dir": "/tmp/a:b"},
        {"run_dir": "/tmp/\n"},
        {"run_dir": "relative"},
        {"run_dir": "/" + "a" * 100},
        {"guard_socket": "/run/guard.sock"},
        {"guard_socket": "/" + "a" * 101 + "{slot}"},
        {"rates": ("10r/h",)},
        {"rates": ("0r/s",)},
        {"rates": ("10r/s burst=5",)},
        {"slots": 101},
        {"listen_port": 0},
        {"max_body": 0},
    ],
)
def test_settings_that_cannot_be_an_edge_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(MeshwardError):
        _settings(Path("/run/mw/edge"), **changes)


def test_settings_with_a_host_that_is_no_address_are_refused() -> None:
    with pytest.raises(ValueError, match="address"):
        _settings(Path("/run/mw/edge"), listen_host="localhost")


def test_settings_are_values(tmp_path: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _settings(tmp_path).hostname = "x"  # type: ignore[misc]
