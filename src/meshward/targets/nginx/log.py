"""The edge's access log: one JSON object a line, every value a string (docs/records.md)."""

from __future__ import annotations

from meshward.targets.nginx.emit import Directive, Variable, join_values, simple
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
    "layer": "mw_layer",
}


def access_log(s: EdgeSettings) -> list[Directive]:
    """Unbuffered: a killed worker loses no line of a request that it finished."""
    start: list[str | Variable] = ['{"v":"1","hop":"edge"']
    pieces = [part for key, name in FIELDS.items() for part in (f',"{key}":"', Variable(name), '"')]
    return [
        simple("log_format", "mw", "escape=json", join_values(*start, *pieces, "}")),
        simple("access_log", f"{s.run_dir}/access.log", "mw"),
    ]
