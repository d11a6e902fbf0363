from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.runtime.place import components
from meshward.runtime.place.components import find_components
from meshward.runtime.place.versions import Build, judge_envoy, judge_nginx, judge_njs

needs_dpkg = pytest.mark.skipif(
    not shutil.which("dpkg"), reason="no dpkg: Debian's order of versions is its to tell"
)
DEBIAN = Build(Path("/usr/sbin/nginx"), "1.22.1", True, "debian 12", "nginx", "1.22.1-9+deb12u11")
OWN = Build(Path("/usr/local/sbin/nginx"), None)


@needs_dpkg
@pytest.mark.parametrize("version", ["1.22.1-9+deb12u11", "1.22.1-9+deb12u12", "1.22.1-10"])
def test_debian_12s_nginx_is_judged_by_its_package(version: str):
    assert judge_nginx(replace(DEBIAN, package_version=version)) is None


@needs_dpkg
@pytest.mark.parametrize("version", ["1.22.1-9+deb12u10", "1.22.1-9", "1.22.1-9+deb12u2"])
def test_an_old_package_of_debian_12_has_known_holes(version: str):
    finding = judge_nginx(replace(DEBIAN, package_version=version))
    assert finding and finding.vulnerable
    assert version in finding.message and "apt-get" in finding.remedy


OK, HOLES, UNKNOWN = None, True, False


@pytest.mark.parametrize(
    ("build", "verdict"),
    [
        (replace(OWN, upstream="1.30.7"), OK),
        (replace(OWN, upstream="1.30.10"), OK),
        (replace(OWN, upstream="1.32.0"), OK),
        (replace(OWN, upstream="1.30.6"), HOLES),
        (replace(OWN, upstream="1.9.15"), HOLES),
        (replace(OWN, upstream="1.22.1"), HOLES),
        (replace(OWN, upstream="1.31.1"), UNKNOWN),
        (OWN, UNKNOWN),
        (
            replace(DEBIAN, release="debian 13", upstream="1.26.3", package_version="1.26.3-3+deb13u2"),
            UNKNOWN,
        ),
        (
            replace(DEBIAN, release="ubuntu 24.04", upstream="1.24.0", package_version="1.24.0-2ubuntu7.5"),
            UNKNOWN,
        ),
        (
            replace(DEBIAN, upstream="1.28.0", package_version="1.28.0-1~bookworm"),
            HOLES,
        ),  # nginx.org's package
        (replace(DEBIAN, upstream="1.30.7", package_version="1.30.7-1~bookworm"), OK),
    ],
)
def test_nginx_elsewhere_is_judged_by_its_upstream_version(build: Build, verdict: bool | None):
    finding = judge_nginx(build)
    assert (finding and finding.vulnerable) == verdict


@pytest.mark.parametrize(
    ("upstream", "package", "verdict"),
    [
        ("0.7.9", "libnginx-mod-http-js", OK),
        ("1.0.2", "", OK),
        ("1.0.1", "", HOLES),
        ("0.7.9", "", HOLES),
        (None, "", UNKNOWN),
    ],
)
def test_njs_is_judged_and_debians_accepted(upstream: str | None, package: str, verdict: bool | None):
    finding = judge_njs(
        Build(Path("/x/ngx_http_js_module.so"), upstream, bool(package), "debian 12", package)
    )
    assert (finding and finding.vulnerable) == verdict


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("1.40.0", OK),
        ("1.39.1", OK),
        ("1.39.0", HOLES),
        ("1.38.4", OK),
        ("1.38.3", HOLES),
        ("1.37.6", OK),
        ("1.37.5", HOLES),
        ("1.36.10", OK),
        ("1.36.9", HOLES),
        ("1.35.99", HOLES),
        ("2.0.0", OK),
        (None, UNKNOWN),
    ],
)
def test_envoy_is_judged_within_its_branch(version: str | None, verdict: bool | None):
    finding = judge_envoy(Build(Path("/envoy"), version))
    assert (finding and finding.vulnerable) == verdict


def test_what_is_installed_here_is_found_and_may_be_run():
    found = find_components()
    assert found.nginx.name == "nginx" and found.nginx.is_file()
    assert found.njs_module.name == "ngx_http_js_module.so" and found.njs_module.is_file()
    assert found.envoy.is_file()
    assert all(version[0].isdigit() for version in found.versions.values())


def fake_nginx(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    program = folder / "nginx"
    text = f"nginx version: nginx/{version}\\nconfigure arguments: --modules-path={folder}"
    program.write_text(f"#!/bin/sh\nprintf '{text}' >&2\n")
    program.chmod(0o755)
    (folder / "ngx_http_js_module.so").write_bytes(b"\x00\x05U1.0.2\x00\x00")
    monkeypatch.setattr(components, "_PLACES", f"{folder}:{components._PLACES}")


def test_a_build_with_known_holes_is_refused_as_unsafe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_nginx(tmp_path, monkeypatch, "1.30.6")
    with pytest.raises(MeshwardError, match=r"nginx 1\.30\.6 .* has known holes") as caught:
        find_components()
    assert (caught.value.code.number, caught.value.exit_code) == ("MW3009", Exit.UNSAFE)
    assert "1.30.7" in caught.value.remedy


def test_a_build_that_cannot_be_judged_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fake_nginx(tmp_path, monkeypatch, "1.31.2")
    found = find_components()
    assert found.nginx == tmp_path / "nginx"
    assert found.versions["njs"] == "1.0.2"
    (warning,) = found.warnings
    assert "nginx 1.31.2" in warning and "could not be judged" in warning


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(components, "_PLACES", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MeshwardError) as caught:
        find_components()
    assert caught.value.code.number == "MW3008"
    assert "apt-get install nginx" in caught.value.remedy
