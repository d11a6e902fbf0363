"""nginx that runs Lua: a stock nginx with its distribution's two modules, or OpenResty, which has them built in.

What is found is tried before it is believed: nginx starts once with a program of one line, which says the
module's version and ends. Files that do not belong together fail there, in words, and not when the edge starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.runtime.place.programs import first, output, run, which

_NAMES = ("nginx", "openresty", "/usr/local/openresty/nginx/sbin/nginx", "angie")
_BUILT_IN = re.compile(r"--add-module=\S*(?:ngx_lua|lua-nginx-module)")
_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")  # in the order in which nginx can load them
MODULE_PLACES = tuple(
    Path(place)
    for place in (
        "/usr/lib/nginx/modules",
        "/usr/lib64/nginx/modules",
        "/usr/share/nginx/modules",
        "/usr/local/nginx/modules",
        "/etc/nginx/modules",
        "/opt/nginx/modules",
    )
)
_CORE = "resty/core.lua"
_LIBRARY_PLACES = ("/usr/share/lua/5.1", "/usr/local/share/lua/5.1", "/usr/local/openresty/lualib")
# Lua's own search path begins with the working directory, so the directory of libraries is named and nothing else.
_PROGRAM = """{load}daemon off; master_process off; error_log stderr; pid /dev/null;
events {{ }}
http {{
    lua_package_path "{path}"; lua_package_cpath "/dev/null/?.so";
    init_by_lua_block {{
        io.stdout:write("lua=", ngx.config.ngx_lua_version, "\\n") io.stdout:flush() os.exit(0)
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class LuaNginx:
    """`modules` are what `load_module` takes, in order; `path` is a lua_package_path; `about` is `nginx -V`."""

    nginx: Path
    about: str
    modules: tuple[str, ...]
    path: str
    version: str

    @property
    def holder(self) -> Path:
        """The file that has lua-nginx-module in it."""
        return Path(self.modules[-1]) if self.modules else self.nginx


def find_lua_nginx() -> LuaNginx:
    """The first nginx that runs Lua. Raises MeshwardError, which says what hinders the first that is here."""
    hindrances: list[MeshwardError] = []
    for nginx in filter(None, map(which, _NAMES)):
        try:
            return _tried(nginx)
        except MeshwardError as error:
            hindrances.append(error)
    raise hindrances[0] if hindrances else _missing("nginx", "Install it: apt-get install nginx.")


def _tried(nginx: Path) -> LuaNginx:
    """`nginx`, seen to run Lua."""
    about = output([str(nginx), "-V"])
    modules = () if _BUILT_IN.search(about) else _find_modules(about)
    path = _library_path(Path(modules[-1]) if modules else nginx, about)
    load = "".join(f'load_module "{module}";\n' for module in modules)
    program = _PROGRAM.format(load=load, path=path)
    _, said = run([str(nginx), "-e", "stderr", "-p", "/", "-c", "/dev/stdin"], program)
    number = first(r"^lua=(\d+)$", said)
    if not number:
        what = f"{nginx} does not run Lua: {_reason(said)}"
        raise MeshwardError(codes.COMPONENT_MISSING, what, _remedy(said))
    return LuaNginx(nginx, about, modules, path, version_of(int(number)))


def _find_modules(about: str) -> tuple[str, ...]:
    compiled = first(r"--modules-path=(\S+)", about)
    for place in (*([Path(compiled)] if compiled else []), *MODULE_PLACES):
        if all((place / name).is_file() for name in _MODULES):
            return tuple(str(place / name) for name in _MODULES)
    remedy = "Install it: apt-get install libnginx-mod-http-lua. OpenResty has it built in."
    raise _missing("nginx's Lua module", remedy)


def _library_path(holder: Path, about: str) -> str:
    """Where lua-resty-core is: the module was built with the path of it, as a string that can be read there."""
    for place in (*_compiled_places(holder), *_places_beside(about), *_LIBRARY_PLACES):
        if (Path(place) / _CORE).is_file():
            return f"{place}/?.lua"
    raise _missing(
        "lua-resty-core", "Install it: apt-get install lua-resty-core. It must be of the module's version."
    )


def _compiled_places(holder: Path) -> Iterator[str]:
    for place in re.findall(rb"(/[A-Za-z0-9_./-]+)/\?\.lua", holder.read_bytes()):
        yield place.decode()


def _places_beside(about: str) -> list[str]:
    """OpenResty's libraries lie beside its nginx: <prefix>/../lualib."""
    prefix = first(r"--prefix=(\S+)", about)
    return [str(Path(prefix).parent / "lualib")] if prefix else []


def version_of(number: int) -> str:
    """10023, as ngx.config.ngx_lua_version has it, is 0.10.23."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _reason(said: str) -> str:
    """nginx's first complaint, without the time and the process in front of it."""
    return first(r"\[(?:emerg|alert)\] \d+#\d+: (.+)", said) or said.strip()[:300] or "it said nothing"


def _remedy(said: str) -> str:
    if "resty.core" in said:
        return (
            "lua-resty-core and nginx's Lua module must be of the same release: install both from one place."
        )
    if "instead of" in said or "binary compatible" in said:
        return "The module was built for another nginx: install nginx and the module from one place."
    return "Install nginx and its Lua module from one place: apt-get install nginx libnginx-mod-http-lua."


def _missing(what: str, remedy: str) -> MeshwardError:
    return MeshwardError(codes.COMPONENT_MISSING, f"{what} was not found", remedy)
