from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.runtime.place import lua, programs
from meshward.runtime.place.components import find_components
from meshward.runtime.place.versions import Build, judge_envoy, judge_lua, judge_nginx

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
        (replace(OWN, upstream="1.31.8"), HOLES),
        (replace(OWN, upstream="1.31.9"), OK),
        (replace(OWN, upstream="1.31.9.1"), OK),  # OpenResty counts its own releases behind nginx's
        (replace(OWN, upstream="1.29.2.4"), HOLES),
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
        (replace(DEBIAN, upstream="1.27.1.2", package_version="1.27.1.2-1~bookworm1"), HOLES),  # OpenResty's
    ],
)
def test_nginx_elsewhere_is_judged_by_its_upstream_version(build: Build, verdict: bool | None):
    finding = judge_nginx(build)
    assert (finding and finding.vulnerable) == verdict


LUA = Build(
    Path("/usr/lib/nginx/modules/ngx_http_lua_module.so"),
    "0.10.23",
    True,
    "debian 12",
    "libnginx-mod-http-lua",
)


@needs_dpkg
@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("1:0.10.23-1+deb12u1", OK),
        ("1:0.10.23-1+deb12u2", OK),
        ("1:0.10.23-1", HOLES),
        ("1:0.10.23~rc2-2", HOLES),
    ],
)
def test_debian_12s_lua_module_is_judged_by_its_package(version: str, verdict: bool | None):
    finding = judge_lua(replace(LUA, package_version=version))
    assert (finding and finding.vulnerable) == verdict
    assert not finding or "--only-upgrade libnginx-mod-http-lua" in finding.remedy


@pytest.mark.parametrize(
    ("build", "verdict"),
    [
        (replace(OWN, upstream="0.10.27"), OK),
        (replace(OWN, upstream="0.10.26"), HOLES),
        (replace(OWN, upstream="0.9.99"), HOLES),
        (replace(LUA, release="debian 13", upstream="0.10.28", package_version="1:0.10.28-2"), OK),
        (replace(LUA, release="ubuntu 24.04", upstream="0.10.26", package_version="1:0.10.26-2"), UNKNOWN),
    ],
)
def test_a_lua_module_elsewhere_is_judged_by_its_upstream_version(build: Build, verdict: bool | None):
    finding = judge_lua(build)
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
    assert found.nginx.is_file()
    assert found.lua_path.endswith("/?.lua") and Path(found.lua_path.replace("?", "resty/core")).is_file()
    assert found.envoy.is_file()
    assert all(version[0].isdigit() for version in found.versions.values())


MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs and modules are looked for first, with the modules and the libraries of a stock nginx."""
    (tmp_path / MODULES[0]).touch()
    (tmp_path / MODULES[1]).write_bytes(
        b"\x7fELF\x00" + f"{tmp_path}/site/?.lua;{tmp_path}/lib/?.lua;;".encode() + b"\x00"
    )
    (tmp_path / "lib" / "resty").mkdir(parents=True)
    (tmp_path / "lib" / "resty" / "core.lua").touch()
    monkeypatch.setattr(programs, "_PLACES", f"{tmp_path}:{programs._PLACES}")
    return tmp_path


def fake_nginx(
    folder: Path,
    version: str,
    *,
    name: str = "nginx",
    arguments: str = "",
    says: str = "lua=10028",
    well: bool = True,
) -> Path:
    """A program that tells about itself as nginx does, and `says` this when it is started with a configuration."""
    program = folder / name
    about = f"nginx version: {name}/{version}\\nconfigure arguments: --modules-path={folder} {arguments}"
    program.write_text(
        f"""#!/bin/sh
        if [ "$1" = -V ]; then printf '{about}\\n' >&2; exit; fi
        for each; do file=$each; done
        cp "$file" {folder}/was-run
        echo '{says}'
        exit {0 if well else 1}
        """
    )
    program.chmod(0o755)
    return program


def test_a_build_with_known_holes_is_refused_as_unsafe(folder: Path):
    fake_nginx(folder, "1.30.6")
    with pytest.raises(MeshwardError, match=r"nginx 1\.30\.6 .* has known holes") as caught:
        find_components()
    assert (caught.value.code.number, caught.value.exit_code) == ("MW3009", Exit.UNSAFE)
    assert "1.30.7" in caught.value.remedy


def test_a_build_that_cannot_be_judged_is_used_with_a_warning(folder: Path):
    fake_nginx(folder, "of-our-own")
    found = find_components()
    assert found.nginx == folder / "nginx"
    assert found.versions["lua-nginx-module"] == "0.10.28"
    (warning,) = found.warnings
    assert "nginx of unknown version" in warning and "could not be judged" in warning


def test_a_stock_nginx_loads_two_modules_in_their_order(folder: Path):
    fake_nginx(folder, "1.30.7")
    found = find_components()
    assert found.lua_modules == tuple(f"{folder}/{name}" for name in MODULES)
    assert (
        found.lua_path == f"{folder}/lib/?.lua"
    )  # the one of the module's own places that has the libraries
    program = (folder / "was-run").read_text()
    assert program.index(MODULES[0]) < program.index(MODULES[1]) and f'"{folder}/lib/?.lua"' in program


def test_openresty_has_lua_built_in_and_loads_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lua, "MODULE_PLACES", ())
    resty = fake_nginx(
        folder,
        "1.31.9.1",
        name="openresty",
        arguments=f"--prefix={folder}/nginx --add-module=../ngx_lua-0.10.32",
    )
    (folder / MODULES[1]).unlink()
    fake_nginx(folder, "1.30.7")  # has no Lua, so it is passed over
    (folder / "lib").rename(folder / "lualib")
    found = find_components()
    assert (found.nginx, found.lua_modules, found.lua_path) == (resty, (), f"{folder}/lualib/?.lua")
    assert found.versions["nginx"] == "1.31.9.1"


def test_an_nginx_that_runs_no_lua_is_passed_over_for_one_that_does(folder: Path):
    fake_nginx(folder, "1.30.7", says="[emerg] 1#1: no such module", well=False)
    resty = fake_nginx(folder, "1.31.9.1", name="openresty", arguments="--add-module=../ngx_lua-0.10.32")
    assert find_components().nginx == resty


@pytest.mark.parametrize(
    ("says", "named", "remedy"),
    [
        (
            "2026/11/29 04:50:39 [alert] 1#1: failed to load the 'resty.core' module (reason: 0.10.28 required)",
            "0.10.28 required",
            "of the same release",
        ),
        (
            '2026/11/29 04:50:39 [emerg] 1#1: module "x.so" version 1026003 instead of 1022001 in a.conf:1',
            "1026003 instead of 1022001",
            "built for another nginx",
        ),
        ("", "it said nothing", "apt-get install nginx libnginx-mod-http-lua"),
    ],
)
def test_files_that_do_not_belong_together_are_told_in_words(
    folder: Path, says: str, named: str, remedy: str
):
    fake_nginx(folder, "1.30.7", says=says.replace("'", ""), well=False)
    with pytest.raises(MeshwardError) as caught:
        find_components()
    assert caught.value.code.number == "MW3008"
    assert named in caught.value.message and remedy in caught.value.remedy


def test_the_libraries_of_another_release_are_refused_by_nginx_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """lua-resty-core accepts one release of the module: any other is told before anything starts."""
    (tmp_path / "resty").mkdir()
    (tmp_path / "resty" / "core.lua").write_text("error('ngx_http_lua_module 0.9.1 required')")
    monkeypatch.setattr(lua, "_compiled_places", lambda _: [str(tmp_path)])
    with pytest.raises(MeshwardError, match=r"0\.9\.1 required") as caught:
        find_components()
    assert "does not run Lua" in caught.value.message and "same release" in caught.value.remedy


@pytest.mark.parametrize("missing", [*MODULES, "lib/resty/core.lua"])
def test_a_part_of_lua_that_is_missing_is_named_with_its_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch, missing: str
):
    monkeypatch.setattr(programs, "_PLACES", str(folder))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(lua, "MODULE_PLACES", ())
    monkeypatch.setattr(lua, "_LIBRARY_PLACES", ())
    fake_nginx(folder, "1.30.7")
    (folder / missing).unlink()
    with pytest.raises(MeshwardError) as caught:
        find_components()
    assert caught.value.code.number == "MW3008"
    assert ("lua-resty-core" if missing not in MODULES else "libnginx-mod-http-lua") in caught.value.remedy


def test_a_number_of_the_modules_is_read_as_its_version():
    assert [lua.version_of(number) for number in (10023, 9020, 1002003)] == ["0.10.23", "0.9.20", "1.2.3"]


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(programs, "_PLACES", "/nowhere")
    monkeypatch.setattr(lua, "_NAMES", ("nginx",))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MeshwardError) as caught:
        find_components()
    assert caught.value.code.number == "MW3008"
    assert "apt-get install nginx" in caught.value.remedy
