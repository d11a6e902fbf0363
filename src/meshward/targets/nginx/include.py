"""The edge's program as includes, for an nginx that is already there and serves others beside it.

What the whole program says for its `http` block stands in its own server here, as far as nginx lets a server say it:
the others are not changed. What an `http` block hands down to every server is taken back where it would act on ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from meshward.targets.nginx.emit import Directive, simple, text
from meshward.targets.nginx.program import http_directives
from meshward.targets.nginx.projection import EdgeView
from meshward.targets.nginx.target import EdgePlace

# Of these nginx has one for all servers; tables grow, nothing is served otherwise by them.
_OF_ALL = frozenset(
    {
        *("lua_package_path", "lua_package_cpath", "init_by_lua_file", "init_worker_by_lua_file"),
        *("exit_worker_by_lua_file", "map_hash_bucket_size", "variables_hash_max_size"),
        *("log_format", "limit_req_zone", "limit_conn_zone"),
    }
)
# What a stranger's `http` block may hold: an answer kept for another caller, a copy of a request.
_TAKEN_BACK = (("proxy_cache", "off"), ("proxy_store", "off"), ("mirror", "off"), ("auth_basic", "off"))


def include_files(view: EdgeView, place: EdgePlace) -> Mapping[str, bytes]:
    """`include/main.conf`, for outside of every block, and `include/http.conf`, for inside of `http`."""
    settings = replace(place.settings, **asdict(view))
    modules = [simple("load_module", module) for module in settings.lua_modules]
    *shared, clients, questions = http_directives(settings)
    own = [each for each in shared if _is_own(each)]
    around = [each for each in shared if not _is_own(each)]
    http = [*around, _with(own, clients), _with([], questions)]
    return {"include/main.conf": text(modules).encode(), "include/http.conf": text(http).encode()}


def _is_own(directive: Directive) -> bool:
    return directive.block is None and directive.name not in _OF_ALL


def _with(own: list[Directive], server: Directive) -> Directive:
    taken_back = [simple(name, value) for name, value in _TAKEN_BACK]
    return replace(server, block=(*own, *taken_back, *(server.block or ())))
