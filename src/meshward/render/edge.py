"""The edge's program for an nginx that somebody else starts: whole, or as includes for one that is already there."""

from __future__ import annotations

from collections.abc import Mapping

from meshward.plan.ir import Plan
from meshward.targets.nginx.include import include_files
from meshward.targets.nginx.settings import EdgeSettings
from meshward.targets.nginx.target import EDGE, EdgePlace

GIVEN = "/etc/meshward/edge"
RUN = "/run/meshward"
"""Where the directory is put, and where sockets, logs and temporary files are."""
_NOTE = """\
The edge: a fixed program for nginx with Lua. No rule of a policy is in it: those come with each decision, so it stays
as it is when grants, versions or weights change.

nginx.conf             the whole program, for an nginx of its own
include/main.conf      or, for one that is already there: `include` this outside of every block of its file,
include/http.conf      and this inside of its `http` block
lua/                   what both run

It belongs to /etc/meshward/edge, its sockets and logs to /run/meshward. Beside it the edge expects, each replaced by a
rename: certs/root.pem (the trust bundle), certs/web.<generation>.pem and certs/edge.<generation>.pem (key and chain),
certs/none.pem (any key and chain: nginx wants a file, and never shows this one), the page that names the generation,
and the decision service at /run/meshward/decide/decide.sock.
An nginx that includes it may have no Lua of its own at `init_by_lua`, and nothing in its `http` block that acts on
requests; nobody else of it listens at the edge's address and port.
"""


def edge_program(plan: Plan, lua: Mapping[str, str]) -> dict[str, bytes]:
    """Every file, by path; `lua`: the texts of the edge's modules."""
    view = EDGE.project(plan, None)
    settings = EdgeSettings(
        listen_host=view.listen_host,
        listen_port=view.listen_port,
        hostname=view.hostname,
        run_dir=f"{RUN}/edge",
        given_dir=GIVEN,
        decision_socket=f"{RUN}/decide/decide.sock",
        control_socket=f"{RUN}/control/control.sock",
        guard_socket=f"{RUN}/guards/{{slot}}/guard.sock",
        root_bundle=f"{GIVEN}/certs/root.pem",
    )
    place = EdgePlace(settings, lua)
    return {"README.txt": _NOTE.encode(), **EDGE.emit(view, place), **include_files(view, place)}
