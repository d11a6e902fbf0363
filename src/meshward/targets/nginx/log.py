"""The edge's access log: one JSON object a line, every value a string (docs/records.md)."""

from __future__ import annotations

from meshward.targets.nginx.emit import Directive, Key, Variable, join_values, mapping, simple
from meshward.targets.nginx.settings import EdgeSettings

# Never a query, a header of the client's, or a token: `path` is set only where it was proved canonical.
FIELDS = {
    "rid": "request_id",
    "t": "msec",
    "ip": "remote_addr",
    "conn": "connection",
    "creq": "connection_requests",
    "pid": "pid",
    "method": "mw_method",
    "path": "mw_path",
    "front": "mw_front",
    "model": "mw_model",
    "status": "status",
    "bytes": "body_bytes_sent",
    "bytes_in": "mw_bytes_in",
    "dur": "request_time",
    "done": "request_completion",
    "last": "mw_last",
    "reqd": "mw_reqd",
    "resd": "mw_resd",
    "reason": "mw_reason",
    "facts": "mw_facts",
    "cache": "mw_cache",
    "guard": "mw_sni",
    "place": "mw_place",  # empty: a guard of this machine, whose line is here; `far`, `near`: elsewhere
    "layer": "mw_layer",
    "n": "mw_counted",  # how many it tells of, where not of one: only `lua/counted.lua` writes such lines
}


def access_log(s: EdgeSettings) -> list[Directive]:
    """Unbuffered: a killed worker loses no line of a request that it finished.

    A request that `lua/counted.lua` counts has none.
    """
    start: list[str | Variable] = ['{"v":"1","hop":"edge"']
    pieces = [part for key, name in FIELDS.items() for part in (f',"{key}":"', Variable(name), '"')]
    return [
        simple("log_format", "mw", "escape=json", join_values(*start, *pieces, "}")),
        mapping(Variable("mw_counted"), "mw_line", "", (Key(""), "1")),
        simple("access_log", s.log, "mw", join_values("if=", Variable("mw_line"))),
    ]
