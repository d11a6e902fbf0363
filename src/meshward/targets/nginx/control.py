"""The door for operators: one location in front of the instance's own socket.

Limited per address, bounded, never kept, never tried twice, and never written to a file. Who may do what is for the
instance to say; it is asked with what nginx sets here, and the body.
"""

from __future__ import annotations

from meshward.kit.wellknown import CONTROL, CONTROL_BODY
from meshward.targets.nginx import gate
from meshward.targets.nginx.decision import counted_by_address
from meshward.targets.nginx.emit import Directive, Key, Regex, Variable, block, mapping, refuse_if, simple
from meshward.targets.nginx.settings import EdgeSettings
from meshward.targets.nginx.wire import Header

_QUESTION: dict[str, str | Variable] = {
    "Host": "control",
    "Connection": "close",
    "Content-Type": Variable("mw_json"),
    Header.AUTHORIZATION: Variable("http_authorization"),
    Header.VERIFY: Variable("ssl_client_verify"),
    Header.ORIGIN: Variable("mw_browser"),
    Header.ADDR: Variable("remote_addr"),
    Header.RID: Variable("request_id"),
}
_ACCEL = ("X-Accel-Expires", "X-Accel-Redirect", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset")
_JSON = r"^application/json(?:; ?charset=(?:utf|UTF)-8)?\z"
_PATIENCE = "120s"  # a change may wait for its turn, for a guard's first start, and for a reload


def upstream(s: EdgeSettings) -> list[Directive]:
    """No connection is kept: changes are rare, and one that was left could take a request with it."""
    return [
        mapping(Variable("content_type"), "mw_json", "", (Regex(_JSON), "application/json")),
        mapping(Variable("http_origin"), "mw_browser", "1", (Key(""), "")),
        simple("limit_req_zone", Variable("mw_from"), "zone=mw_control:1m", "rate=5r/s"),
        simple("limit_conn_zone", Variable("mw_from"), "zone=mw_operators:1m"),
        block("upstream", "mw_control", inside=[simple("server", f"unix:{s.control_socket}")]),
    ]


def location(s: EdgeSettings) -> Directive:
    """POST alone, to this one path."""
    inside = [
        counted_by_address(s),
        *gate.refusals(),
        refuse_if("mw_method", "!=", "POST", 405),
        simple("limit_req", "zone=mw_control", "burst=20", "nodelay"),
        simple("limit_conn", "mw_operators", "8"),
        # Equal: no body in a file.
        simple("client_max_body_size", str(CONTROL_BODY)),
        simple("client_body_buffer_size", str(CONTROL_BODY)),
        simple("proxy_pass", f"http://mw_control{CONTROL}"),
        simple("proxy_method", "POST"),
        simple("proxy_http_version", "1.1"),
        simple("proxy_pass_request_headers", "off"),
        *(simple("proxy_set_header", name, value) for name, value in _QUESTION.items()),
        simple("proxy_next_upstream", "off"),
        simple("proxy_connect_timeout", "1s"),
        simple("proxy_read_timeout", _PATIENCE),
        simple("proxy_buffer_size", "16k"),
        simple("proxy_buffers", "4", "16k"),
        simple("proxy_max_temp_file_size", "0"),
        simple("proxy_ignore_headers", *_ACCEL, "Set-Cookie", "Expires", "Cache-Control", "Vary"),
    ]
    return block("location", "=", CONTROL, inside=inside)
