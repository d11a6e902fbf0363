"""The steps. Each is one promise: it asks, looks at the answer, and raises Broken where it was not kept."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

from meshward.audit.store import Store
from meshward.demo.accounts import token_for
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.runtime.place.instance_file import Guarded, Instance
from meshward.targets.nginx.wire import Header
from meshward.tour.clients import HUGGINGFACE, OPENAI, call, run_client
from meshward.trace.story import wait_for

PROMPT = {"inputs": "The edge knows who is asking."}
TRACE_WITHIN = 2.0
ROUNDS = 15
OTHER_UID = 65533


class Broken(Exception):
    """A promise that was not kept, and what was found instead."""


def keeps(condition: object, found: object) -> None:
    """Raise Broken unless `condition` holds. Not `assert`: the tour must not believe everything under `python -O`."""
    if not condition:
        raise Broken(str(found))


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step asked, what came back, and why that is right."""

    asked: str
    answered: str
    why: str


@dataclass(frozen=True, slots=True)
class Visit:
    """What the steps share: the instance and a token of each demo account."""

    instance: Instance
    state: Path
    tokens: dict[str, Secret]


def visit(instance: Instance, state: Path) -> Visit:
    """Sign all demo accounts in by the device flow. Raises MeshwardError where they cannot be."""
    if instance.idp_url is None:
        raise MeshwardError(codes.NO_DEMO, f"the instance in `{state}` has no identity provider of the demo")
    accounts = ("alice", "bob", "carol")
    return Visit(instance, state, {name: token_for(instance.idp_url, name, state) for name in accounts})


def _bearer(tour: Visit, account: str) -> str:
    return tour.tokens[account].reveal()


def huggingface_client(tour: Visit) -> StepResult:
    result = run_client(HUGGINGFACE, tour.instance, tour.tokens["alice"])
    keeps(result["dimensions"] == 384, result)
    return StepResult(
        f"alice: InferenceClient(model={tour.instance.edge_url}/m/minilm).feature_extraction(...)",
        f"an embedding of {result['dimensions']} numbers",
        "alice's group data-science is the role data-scientist, which the grant `science` gives minilm.infer",
    )


def openai_client(tour: Visit) -> StepResult:
    result = run_client(OPENAI, tour.instance, tour.tokens["alice"])
    keeps(result["dimensions"] == 384, result)
    return StepResult(
        f"alice: OpenAI(base_url={tour.instance.edge_url}/m/minilm/v1).embeddings.create(...)",
        f"an embedding of {result['dimensions']} numbers, request {result['request_id']}",
        "the same permission by the other family of clients",
    )


def model_in_the_body(tour: Visit) -> StepResult:
    answer = call(tour.instance, "/v1/embeddings", {"model": "minilm", "input": "hi"}, _bearer(tour, "alice"))
    keeps(answer.status == 200, answer)
    return StepResult(
        "alice: POST /v1/embeddings with the model in the body", "200", "the edge routes by the body's model"
    )


def both_versions(tour: Visit) -> StepResult:
    """Weights are chance: ask in rounds until both versions have answered."""
    store, seen = Store.read_only(tour.state), set[str]()
    for _ in range(ROUNDS):
        answers = [call(tour.instance, "/m/minilm/embed", PROMPT, _bearer(tour, "alice")) for _ in range(10)]
        keeps(all(answer.status == 200 for answer in answers), answers)
        stories = [wait_for(store, answer.request_id, TRACE_WITHIN) for answer in answers]
        seen |= {story.as_json()["guard"]["guard"].split(".")[0] for story in stories if story is not None}
        if seen == {"v1", "v2"}:
            break
    keeps(seen == {"v1", "v2"}, f"only {seen} answered")
    return StepResult(
        "alice: the same request again and again", "v1 and v2 answered", "90 % and 10 % of the traffic"
    )


def bob_is_refused(tour: Visit) -> StepResult:
    answer = call(tour.instance, "/m/minilm/embed", PROMPT, _bearer(tour, "bob"))
    keeps(answer.status == 403, answer)
    keeps(answer.body["error"] == answer.sentence, answer)
    keeps("data-scientist" in answer.sentence, answer)
    keeps('error="insufficient_scope"' in answer.headers["www-authenticate"], answer)
    return StepResult(
        "bob (group sales): POST /m/minilm/embed", f"403 {answer.sentence}", "no grant covers his groups"
    )


def no_token(tour: Visit) -> StepResult:
    answer = call(tour.instance, "/m/minilm/embed", PROMPT)
    challenge = answer.headers.get("www-authenticate", "")
    keeps(answer.status == 401, answer)
    keeps("resource_metadata=" in challenge and "error=" not in challenge, challenge)
    return StepResult(
        "nobody: POST /m/minilm/embed without a token", f"401, {challenge}", "RFC 6750 and RFC 9728"
    )


def forged_token(tour: Visit) -> StepResult:
    key = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
    now = int(time.time())
    claims = {
        "iss": tour.instance.idp_url,
        "aud": "meshward-demo",
        "sub": "alice",
        "groups": ["data-science"],
    }
    token = jwt.encode(
        {"alg": "ES256", "kid": "forged", "typ": "at+jwt"}, {**claims, "iat": now, "exp": now + 60}, key
    )
    answer = call(tour.instance, "/m/minilm/embed", PROMPT, token)
    keeps(answer.status == 401 and 'error="invalid_token"' in answer.headers["www-authenticate"], answer)
    return StepResult(
        "somebody: alice's claims, signed by a key of one's own", f"401 {answer.sentence}", "unknown key"
    )


def huggingface_token(tour: Visit) -> StepResult:
    planted = "hf_" + "x" * 34
    answer = call(tour.instance, "/m/minilm/embed", PROMPT, planted)
    keeps(answer.status == 401 and "Hugging Face" in answer.sentence, answer)
    keeps(planted not in json.dumps(answer.body) + answer.sentence, "the token came back in the answer")
    return StepResult(
        "somebody: a Hugging Face token sent by mistake", f"401 {answer.sentence}", "recognised, never logged"
    )


def forged_transaction_token(tour: Visit) -> StepResult:
    forged = {"Txn-Token": "eyJhbGciOiJub25lIn0.e30.", Header.FACTS: "e30", Header.ROUTE: "1|1 00 x"}
    bob = call(tour.instance, "/m/minilm/embed", PROMPT, _bearer(tour, "bob"), forged)
    alice = call(tour.instance, "/m/minilm/embed", PROMPT, _bearer(tour, "alice"), forged)
    keeps(bob.status == 403, bob)
    keeps(alice.status == 200, alice)
    return StepResult(
        "bob and alice: with a forged Txn-Token", "403 and 200, as without it", "client headers do not pass"
    )


def _sealed_guard(instance: Instance) -> Guarded | None:
    return next((guard for guard in instance.guards if guard.means == "sealed"), None)


def sealed_port(tour: Visit) -> StepResult:
    sealed = _sealed_guard(tour.instance)
    if sealed is None:
        who = "anybody: connect to the sealed model's port"
        return StepResult(
            who, "not tried: no version is sealed", "this machine gives its users no namespaces"
        )
    port = urlsplit(sealed.url).port
    with socket.socket() as plain:
        plain.settimeout(2)
        outcome = plain.connect_ex(("127.0.0.1", port))
    keeps(outcome != 0, f"port {port} answers outside its namespace")
    listening = f":{port:04X} "
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()]
    listeners = [line for line in lines if listening in line.split(" st")[0][:30] and " 0A " in line]
    keeps(not listeners, listeners)
    return StepResult(
        f"anybody: connect to the sealed model's port {port}",
        os.strerror(outcome),
        "it exists only in its namespace",
    )


def guard_without_svid(tour: Visit) -> StepResult:
    guard = tour.instance.guards[0]
    context = ssl.create_default_context(cafile=tour.instance.root_certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    request = f"POST /embed HTTP/1.1\r\nHost: {guard.dns_name}\r\nContent-Length: 0\r\n\r\n".encode()
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(5)
        plain.connect(guard.socket)
        try:
            with context.wrap_socket(plain, server_hostname=guard.dns_name) as tls:
                tls.sendall(request)
                answer = tls.recv(1024)
        except OSError as error:
            answer = b""
            refusal = getattr(error, "reason", None) or type(error).__name__
        else:
            refusal = "connection closed"
    keeps(answer == b"", answer)
    return StepResult(
        "somebody on this machine: straight to the guard, no certificate", str(refusal), "mTLS is demanded"
    )


_CONNECT = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.stdin.readline().strip())"


def model_socket_of_another(tour: Visit) -> StepResult:
    guard = next(guard for guard in tour.instance.guards if guard.url.startswith("unix:"))
    path = guard.url.removeprefix("unix:")
    asked = f"another user (uid {OTHER_UID}): open the model's socket"
    if os.geteuid() != 0:
        return StepResult(asked, "not tried: the tour may not change its uid", "started as a normal user")
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    tried = subprocess.run(
        [python, "-c", _CONNECT],
        input=path,
        text=True,
        capture_output=True,
        user=OTHER_UID,
        group=OTHER_UID,
        extra_groups=(),
        check=False,
        timeout=30,
        cwd="/",
    )
    keeps(tried.returncode != 0, "it opened")
    last = tried.stderr.strip().splitlines()[-1:] or ["refused"]
    keeps("PermissionError" in last[0], last)
    return StepResult(asked, last[0], "only its own guard's group may")


def trace_agrees(tour: Visit) -> StepResult:
    answer = call(tour.instance, "/m/minilm/embed", PROMPT, _bearer(tour, "alice"))
    keeps(answer.status == 200, answer)
    story = wait_for(Store.read_only(tour.state), answer.request_id, TRACE_WITHIN)
    if story is None:
        raise Broken(f"no record of {answer.request_id} within {TRACE_WITHIN:.0f} s")
    record = story.as_json()
    keeps(record["agrees"], record)
    edge, guard = record["edge"], record["guard"]
    keeps(edge["sub"] == guard["sub"] and guard["sub"].startswith("demo:"), record)
    keeps(edge["perm"] == guard["scope"] == "minilm.infer", record)
    keeps(edge["reqd"] and edge["reqd"] in guard["told_reqd"], record)
    return StepResult(
        f"an auditor: meshward trace {answer.request_id}",
        f"edge and guard agree: {guard['sub']}, {guard['scope']}, sha-256 {edge['reqd'][:12]}...",
        "two hops logged the same subject, permission and prompt digest",
    )


Step = Callable[[Visit], StepResult]
STEPS: tuple[tuple[str, Step], ...] = (
    ("a permitted person, huggingface_hub", huggingface_client),
    ("a permitted person, openai", openai_client),
    ("routed by the model in the body", model_in_the_body),
    ("both versions", both_versions),
    ("a person without a role", bob_is_refused),
    ("no token", no_token),
    ("a forged token", forged_token),
    ("a Hugging Face token", huggingface_token),
    ("a forged Transaction Token", forged_transaction_token),
    ("straight to the sealed model", sealed_port),
    ("straight to a guard", guard_without_svid),
    ("straight to a model's socket", model_socket_of_another),
    ("one request at both hops", trace_agrees),
)
