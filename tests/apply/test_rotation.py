"""Keys and certificates are replaced under load: no request fails, no stream is cut, and each hop has followed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from meshward.apply.hop_files import Owner
from meshward.apply.keys.inventory import load_failures
from meshward.cli.main import main
from meshward.kit.durable import write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.runtime.place.identities import ProcessIdentity
from meshward.runtime.supervise.ready import shown_leaf
from meshward.spiffe.ca import Authority, load, make_issuing, make_root
from meshward.spiffe.ca_store import WORKLOADS, CaStore
from meshward.spiffe.certificates import pem_of
from meshward.spiffe.ids import SpiffeId
from meshward.targets.envoy.files import encode_file
from meshward.targets.envoy.resources import discovery_response, svid
from meshward.testing.instance import START
from meshward.testing.recorder import Received, plain_answer
from meshward.tokens.key_store import load as load_keys
from tests.hostile.conftest import write_hostile
from tests.stack import hasty
from tests.stack.asking import ask
from tests.stack.impostor import liar
from tests.stack.live import apply, policy_of
from tests.stack.load import at_work
from tests.stack.running import Reply, Stack, eventually, running

ROUNDS, MANY = 6, 20  # rotations of each kind; MANY with --long
HASTY = hasty.__name__
PATH = "/m/m1/v1/public"
KINDS: dict[str, dict[str, Any]] = {
    "svids": {"what": "svids"},
    "signing-key": {"what": "signing-key"},
    "edge-certificate": {"what": "edge-certificate"},
    "ca": {"what": "ca"},
}


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_with_workload, HASTY) as started:
        yield started


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long"))


def write_with_workload(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    sockets = write_hostile(jwks, port, directory)
    file = directory / "policy.yaml"
    policy = json.loads(file.read_text())
    policy["workloads"] = {**policy.get("workloads", {}), "job": {"id": "/ns/jobs/sa/job"}}
    policy["roles"]["jobs"] = [{"workload": "job"}]
    # So long may what runs at a reload go on: the stream of a test that takes a minute on a busy machine, too.
    policy["models"]["m1"]["timeout"] = "10m"
    policy["grants"].append({"id": "jobs", "roles": ["jobs"], "models": ["m1"], "actions": ["infer"]})
    file.write_text(json.dumps(policy))
    return sockets


@pytest.fixture
def alice(stack: Stack) -> str:
    return stack.issuer.token("alice", ["users"])


def rotate(stack: Stack, **request: Any) -> dict[str, Any]:
    return ask(stack.state, {"do": "rotate", **request}, lambda _: None)


@contextmanager
def load_of(stack: Stack, token: str, *, reloads: bool = False) -> Iterator[list[Any]]:
    """Callers without pause: a connection for each request, and some that stay; what they were answered.

    `reloads`: nginx may close a connection that stays just as a request is sent: a GET is repeated, as clients do.
    It ends when there were enough of them.
    """
    seen, stop = list[Any](), threading.Event()
    headers = {"Host": f"{stack.hostname}:{stack.port}", "Authorization": f"Bearer {token}"}

    def fresh() -> None:
        while not stop.is_set():
            seen.append(_tried(lambda: stack.call("GET", PATH, token).status))

    def kept() -> None:
        while not stop.is_set():
            with stack.connection(stack.tls()) as connection:
                for turn in range(200):
                    answered = _tried(partial(_get, connection, headers))
                    closed = reloads and turn > 0 and answered is CLOSED
                    if not closed:
                        seen.append(answered)
                    if closed or answered != 200 or stop.is_set():
                        break

    with at_work(stop, fresh, fresh, kept, kept):
        yield seen
        eventually(lambda: len(seen) > 50, what="enough traffic")


def _tried(call: Any) -> Any:
    try:
        return call()
    except Exception as error:
        return repr(error)


CLOSED = "closed before an answer"


def _get(connection: http.client.HTTPSConnection, headers: dict[str, str]) -> int | str:
    try:
        connection.request("GET", PATH, headers=headers)
        response = connection.getresponse()
    except (ConnectionError, ssl.SSLEOFError):
        return CLOSED
    response.read()
    return response.status


class Stream:
    """An event stream through both hops, read in a thread until it ends; its server sends until `finish`."""

    def __init__(self, stack: Stack, token: str) -> None:
        self._stack, self._token = stack, token
        self._server = stack.models["m1/v1"]
        self._stop = threading.Event()
        self.sent, self.body = 0, b""

    def __enter__(self) -> Stream:
        self._server.answer = self._answer
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        eventually(lambda: self.sent > 1, what="the stream's begin")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._reader.join(60)
        self._server.answer = plain_answer

    @property
    def whole(self) -> bool:
        return self.body.count(b"data:") == self.sent > 1 and self.body.endswith(b"data: end\n\n")

    def _answer(self, request: Received, connection: socket.socket) -> None:
        if not request.header("x-stream") and "stream" not in request.target:
            return plain_answer(request, connection)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head)
        while not self._stop.is_set():
            self._event(connection, b"data: %d\n\n" % self.sent)
            time.sleep(0.05)
        self._event(connection, b"data: end\n\n")
        connection.sendall(b"0\r\n\r\n")
        return None

    def _event(self, connection: socket.socket, event: bytes) -> None:
        connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        self.sent += 1

    def _read(self) -> None:
        self.body = self._stack.call("GET", f"{PATH}?stream=1", self._token).body


def steady(found: list[Any]) -> None:
    wrong = [each for each in found if each != 200]
    assert not wrong, (len(found), wrong[:5])


@pytest.mark.parametrize("kind", KINDS)
def test_many_rotations_cost_no_request_and_no_stream(
    stack: Stack, alice: str, kind: str, long: bool
) -> None:
    processes = stack.processes()
    with Stream(stack, alice) as stream, load_of(stack, alice) as seen:
        for _ in range(MANY if long else ROUNDS):
            before = len(seen)
            rotate(stack, **KINDS[kind])
            eventually(lambda before=before: len(seen) > before + 2, what="traffic after a rotation")
    steady(seen)
    assert stream.whole, stream.body[-60:]
    assert stack.processes() == processes, "a rotation restarts nothing"


def test_the_signing_key_that_is_told_first_signs_next(stack: Stack, alice: str) -> None:
    before = load_keys(stack.state / "keys")
    for _ in range(3):
        assert stack.call("GET", PATH, alice).status == 200
        rotate(stack, what="signing-key")
    after = load_keys(stack.state / "keys")
    assert before.next.kid in {each.jwk["kid"] for each in after.previous}
    names = {file.name for file in (stack.run / "given" / "decide" / "keys").glob("*.pem")}
    assert names == {f"txn.{after.current.kid}.pem"}, "who signs holds one key"
    for guard in (stack.run / "given" / "guards").iterdir():
        held = (guard / "xds" / "ecds-jwt.json").read_text()
        assert all(jwk["kid"] in held for jwk in after.public_jwks()["keys"])


def test_a_decision_service_that_is_just_dead_is_no_reason_to_rotate_nothing(stack: Stack) -> None:
    before = load_keys(stack.state / "keys")
    os.kill(stack.processes()["decide"], signal.SIGKILL)
    rotate(stack, what="signing-key")
    assert load_keys(stack.state / "keys").current.kid == before.next.kid
    names = {file.name for file in (stack.run / "given" / "decide" / "keys").glob("*.pem")}
    assert names == {f"txn.{before.next.kid}.pem"}


def test_each_verb_and_what_status_says(stack: Stack) -> None:
    old = shown_leaf("127.0.0.1", stack.port)
    done = stack.command("rotate", "edge-certificate", "--reason", "a drill", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["rotated"] == "edge-certificate", done
    assert shown_leaf("127.0.0.1", stack.port) != old
    assert "every hop runs the new one" in stack.command("rotate", "svids").stdout
    told = json.loads(stack.command("status", "--json").stdout)["keys"]
    kinds = {age["what"] for age in told["ages"]}
    assert kinds == {"root", "ca", "svids", "edge-certificate", "signing-key"} and told["findings"] == []
    svids = [age for age in told["ages"] if age["what"] == "svids"]
    assert len(svids) == 3 and all(
        age["begins"] < age["rotates"] < age["alarm"] < age["ends"] for age in svids
    )
    shown = stack.command("status").stdout
    assert "svids (3, first " in shown and "replaced in" in shown and "PRIVATE" not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("credential",), ("svids", "name"), ("svids", "--root"), ("ca", "--finish"),
        ("ca", "--force"), ("ca", "--root", "--overlap", "1h"), ("ca", "--overlap", "soon"),
    ],
)  # fmt: skip
def test_wrong_usage_changes_nothing(
    stack: Stack, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = CaStore(stack.state / "ca", stack.instance.trust_domain).names()
    monkeypatch.setattr(sys, "argv", ["meshward", "rotate", *arguments, "--state", str(stack.state)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == Exit.USAGE
    assert CaStore(stack.state / "ca", stack.instance.trust_domain).names() == before


def workload(stack: Stack, out: str, *more: str) -> Path:
    done = stack.command("svid", "job", "--out", str(stack.policy.parent / out), *more)
    assert done.returncode == 0, done
    return stack.policy.parent / out


def as_job(stack: Stack, directory: Path, trust: Path | None = None) -> Reply:
    context = ssl.create_default_context(cafile=trust) if trust else stack.tls()
    context.check_hostname = False
    context.load_cert_chain(directory / "svid.pem")
    connection = http.client.HTTPSConnection("127.0.0.1", stack.port, context=context, timeout=60)
    connection.request("GET", PATH, headers={"Host": f"{stack.hostname}:{stack.port}"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return Reply(response.status, {}, body)


def test_a_workload_of_before_is_known_after_the_ca_rotated(stack: Stack) -> None:
    job = workload(stack, "before-ca", "--ttl", "10m")
    for _ in range(2):
        rotate(stack, what="ca")
        assert as_job(stack, job).status == 200
    assert as_job(stack, workload(stack, "after-ca", "--ttl", "10m"), stack.state / "root.pem").status == 200


def test_a_root_is_replaced_with_overlap(stack: Stack, alice: str) -> None:
    """K16: bundle first, then leaves; the server certificate and the old root last."""
    first, root_before = (stack.state / "root.pem").read_text(), stack.policy.parent / "root-before.pem"
    root_before.write_text(first)
    job = workload(stack, "before-root")
    with Stream(stack, alice) as stream, load_of(stack, alice, reloads=True) as seen:
        done = stack.command("rotate", "ca", "--root", "--json")
        assert done.returncode == 0, done
        overlap = (stack.state / "root.pem").read_text()
        assert overlap.startswith(first.splitlines()[0]) and overlap.count("BEGIN") == 2 and first in overlap
        assert as_job(stack, job).status == 200, "below the old root"
        assert as_job(stack, job, root_before).status == 200, "a client that has the old root alone"
        later = workload(stack, "in-overlap")
        assert as_job(stack, later, later / "bundle.pem").status == 200, "below the new root"
        for guard in (stack.run / "given" / "guards").iterdir():
            assert "BEGIN CERT" in (guard / "xds" / "bundle.json").read_text()
        for kind in KINDS.values():
            rotate(stack, **kind)  # all of them go on meanwhile
            assert as_job(stack, job, root_before).status == 200
        with pytest.raises(MeshwardError, match="the old one goes at") as again:
            rotate(stack, what="ca", root=True)
        early = stack.command("rotate", "ca", "--root", "--finish")
        assert again.value.exit_code is Exit.CONFLICT
        assert early.returncode == Exit.UNSAFE and "until" in early.stderr, early
        assert not load_failures(stack.state), "what must not be is no failure"
        ages = json.loads(stack.command("status", "--json").stdout)["keys"]
        assert "old root" in {age["what"] for age in ages["ages"]} and not ages["findings"]
        forget_workloads(stack)
        assert stack.command("rotate", "ca", "--root", "--finish").returncode == 0
    steady(seen)
    assert stream.whole
    after = (stack.state / "root.pem").read_text()
    assert after.count("BEGIN") == 1 and after not in first and after in overlap
    assert as_job(stack, later, stack.state / "root.pem").status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        as_job(stack, later, root_before)
    for guard in (stack.run / "given" / "guards").iterdir():
        bundle = json.loads((guard / "xds" / "bundle.json").read_text())
        assert bundle["resources"][0]["validation_context"]["trusted_ca"]["inline_string"] == after
    assert (stack.run / "given" / "edge" / "certs" / "root.pem").read_text() == after


def forget_workloads(stack: Stack) -> None:
    """As if their SVIDs had ended."""
    write_atomic(stack.state / "ca" / WORKLOADS, "{}")


def test_the_old_root_goes_by_itself_when_its_time_is_over(stack: Stack, alice: str) -> None:
    workload(stack, "below-the-old-root")
    rotate(stack, what="ca", root=True)
    file = stack.state / "ca" / "ca.json"
    names = json.loads(file.read_text())
    names["overlap"]["until"] = 1
    write_atomic(file, json.dumps(names))
    time.sleep(2 * hasty.CHECK)
    assert json.loads(file.read_text())["overlap"], "a workload holds an SVID below it"
    forget_workloads(stack)
    eventually(lambda: json.loads(file.read_text())["overlap"] is None, what="the end of the overlap")
    eventually(lambda: (stack.state / "root.pem").read_text().count("BEGIN") == 1, what="one root")
    assert stack.call("GET", PATH, alice).status == 200


@pytest.mark.parametrize("kind", ["signing-key", "edge-certificate", "ca", "root"])
def test_a_hop_that_does_not_take_it_is_named_and_everything_serves(
    stack: Stack, alice: str, kind: str
) -> None:
    if kind == "edge-certificate":
        return not_taken(stack, alice, "edge", kind)
    return not_taken(stack, alice, next(name for name in stack.processes() if "m2" in name), kind)


def not_taken(stack: Stack, alice: str, part: str, kind: str) -> None:
    """`part` stands still, or says that it runs nothing, while `kind` rotates; the schedule brings it to its end."""
    request = KINDS.get(kind, {"what": "ca", "root": True})
    with standing_still(stack) if part == "edge" else denying(stack):
        with pytest.raises(MeshwardError) as told:
            rotate(stack, **request)
        assert told.value.exit_code is Exit.HOP_REFUSED
        assert ("the edge" if part == "edge" else "m2/v1") in told.value.message, told.value.message
        if part != "edge":
            assert stack.call("GET", PATH, alice).status == 200
        done = stack.command("status")
        assert done.returncode == Exit.FINDINGS and "could not be replaced" in done.stdout, done
    eventually(lambda: not load_failures(stack.state), what=f"{kind} by itself")
    for path in (PATH, "/m/m2/v1/public"):
        assert stack.call("GET", path, alice).status == 200
    if kind == "root":
        eventually(lambda: (stack.state / "root.pem").read_text().count("BEGIN") == 2, what="both roots")
        rotate(stack, what="ca", root=True, finish=True, force=True)


@contextmanager
def denying(stack: Stack) -> Iterator[None]:
    with hasty.hurried(stack.state), liar(stack.run / "guards" / stack.guard("m2").slot / "admin.sock"):
        yield


@contextmanager
def standing_still(stack: Stack) -> Iterator[None]:
    pids = _family(stack.processes()["edge"])
    with hasty.hurried(stack.state):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def _family(master: int) -> list[int]:
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [master, *map(int, children)]


def test_a_guard_that_cannot_read_its_files_is_named(stack: Stack, alice: str) -> None:
    """K21, for rotations: the directory is the guard's to read no more."""
    if os.geteuid() != 0:
        return
    xds = stack.run / "given" / "guards" / stack.guard("m2").slot / "xds"
    xds.chmod(0o700)
    stat = xds.stat()
    os.chown(xds, -1, 0)
    with hasty.hurried(stack.state):  # to the end: the schedule tries it too, and has the turn meanwhile
        try:
            with pytest.raises(MeshwardError) as told:
                rotate(stack, what="svids")
            assert told.value.exit_code is Exit.HOP_REFUSED and "m2/v1" in told.value.message
            assert "not as it was handed out: the guard of m2/v1" in stack.command("status").stdout
            for path in (PATH, "/m/m2/v1/public"):
                assert stack.call("GET", path, alice).status == 200
        finally:
            os.chown(xds, -1, stat.st_gid)
            xds.chmod(0o750)
        eventually(lambda: not load_failures(stack.state), what="the guard by itself")
    rotate(stack, what="svids")


def test_an_expired_svid_fails_closed_and_status_says_so(stack: Stack, alice: str) -> None:
    """K15: the issuer cannot issue, and a guard's SVID ends."""
    assert stack.call("GET", "/m/m2/v1/public", alice).status == 200
    slot, domain = stack.guard("m2").slot, stack.instance.trust_domain
    issued = load(stack.state / "ca", domain).issue(
        SpiffeId(domain, "/model/m2"), stack.guard("m2").dns_name, datetime.now(UTC), timedelta(seconds=2)
    )
    xds = stack.run / "given" / "guards" / slot / "xds"
    issuing = next((stack.state / "ca").glob("issuing*.key.pem"))
    key = issuing.read_bytes()
    issuing.write_bytes(b"damaged")
    try:
        gid = (xds / "svid.json").stat().st_gid
        Owner(ProcessIdentity(gid, gid)).write(
            xds / "svid.json", encode_file(discovery_response(svid(issued.chain, issued.key)))
        )
        eventually(
            lambda: datetime.now(UTC) > issued.not_after + timedelta(seconds=1),
            what="the end of the SVID",
        )
        _hang_up_pool(stack)
        eventually(lambda: stack.call("GET", "/m/m2/v1/public", alice).status == 502, what="a closed door")
        assert stack.call("GET", PATH, alice).status == 200, "the other guard is not concerned"
        done = stack.command("status")
        assert done.returncode == Exit.FINDINGS
        assert "workload certificate expired: the guard of m2/v1; `meshward rotate svids`" in done.stdout, (
            done
        )
        assert stack.command("rotate", "svids").returncode != 0
    finally:
        issuing.write_bytes(key)
    rotate(stack, what="svids")
    eventually(lambda: stack.call("GET", "/m/m2/v1/public", alice).status == 200, what="the door open again")
    eventually(lambda: not load_failures(stack.state), what="no finding any more")


def _hang_up_pool(stack: Stack) -> None:
    """The edge's pooled connections were opened with the certificate of before: a reload closes them."""
    os.kill(stack.processes()["edge"], signal.SIGHUP)
    time.sleep(1)


def test_secrets_are_in_no_log(stack: Stack) -> None:
    """What every rotation of this file made, or used."""
    keys = load_keys(stack.state / "keys")
    secrets = [_middle(key.pem().decode()) for key in (keys.current, keys.next)]
    secrets += [_middle(file.read_text()) for file in (stack.state / "ca").glob("*.key.pem")]
    secrets += [
        _middle(file.read_text()) for file in (stack.run / "given" / "edge" / "certs").glob("web.*.pem")
    ]
    texts = [file.read_text(errors="replace") for file in (stack.state / "logs").iterdir()]
    texts += [file.read_text(errors="replace") for file in stack.run.rglob("*.log*") if file.is_file()]
    texts.append((stack.policy.parent / "up.log").read_text())
    assert len(secrets) >= 5 and any("rotate" in text for text in texts)
    for text in texts:
        assert "PRIVATE KEY" not in text and not any(secret in text for secret in secrets)


def _middle(pem: str) -> str:
    return pem.splitlines()[2]


@pytest.mark.parametrize(
    ("kind", "at"),
    [("svids", 0.03), ("signing-key", 0.06), ("edge-certificate", 0.03), ("ca", 0.06), ("root", 0.1), ("finish", 0.06)],
)  # fmt: skip
def test_killed_in_the_middle_the_next_start_serves(
    stack: Stack, alice: str, kind: str, at: float, long: bool
) -> None:
    requests = {**KINDS, "root": {"what": "ca", "root": True}}
    requests["finish"] = {"what": "ca", "root": True, "finish": True, "force": True}
    for delay in (0.005, 0.03, 0.06, 0.1) if long else (at,):
        if (
            kind == "finish"
            and CaStore(stack.state / "ca", stack.instance.trust_domain).names().overlap is None
        ):
            rotate(stack, what="ca", root=True)
        failed = threading.Thread(target=lambda: _tried(lambda: rotate(stack, **requests[kind])), daemon=True)
        failed.start()
        time.sleep(delay)
        os.kill(stack.process.pid, signal.SIGKILL)
        stack.process.wait(60)
        failed.join(60)
        start_again(stack)
        for path in (PATH, "/m/m2/v1/public"):
            assert stack.call("GET", path, alice).status == 200
    keep = CaStore(stack.state / "ca", stack.instance.trust_domain)
    if keep.names().overlap is not None:
        eventually(lambda: (overlap := keep.names().overlap) and overlap.used, what="the new root's use")
        rotate(stack, what="ca", root=True, finish=True, force=True)
    rotate(stack, **KINDS["ca"])
    assert stack.call("GET", PATH, alice).status == 200


def start_again(stack: Stack) -> None:
    log = stack.policy.parent / "up.log"
    with log.open("w") as file:
        stack.process = subprocess.Popen(
            [sys.executable, "-m", HASTY, *START, "--state", str(stack.state)],
            stdout=file, stderr=file, text=True, start_new_session=True,
        )  # fmt: skip
    eventually(lambda: "ready:" in log.read_text(), what="the next start")


# --- a server certificate from files


def test_a_certificate_from_files_is_followed_as_it_changes(stack: Stack, alice: str, long: bool) -> None:
    """A private authority: its root at the chain's end is what clients here are told of."""
    now = datetime.now(UTC)
    root = make_root("private.test", now)
    private = Authority("private.test", root.certificate, make_issuing("private.test", root, now))
    live = stack.policy.parent / "live"
    live.mkdir()
    put(live, private, root.certificate)
    policy = json.loads(stack.policy.read_text())
    bad = {
        **policy,
        "edge": {**policy["edge"], "certificate": {"from": "files", "path": str(live / "nowhere")}},
    }
    with pytest.raises(MeshwardError) as told:
        apply(stack, policy_of(bad))
    assert told.value.code.number == "MW3041" and told.value.exit_code is Exit.UNSAFE
    policy["edge"]["certificate"] = {"from": "files", "path": str(live)}
    apply(stack, policy_of(policy), allow=["widening"])
    assert leaf_in(live) == shown_leaf("127.0.0.1", stack.port)
    assert pem_of(root.certificate) in (stack.state / "root.pem").read_text()
    later = workload(stack, "with-files")
    assert as_job(stack, later, later / "bundle.pem").status == 200
    with load_of(stack, alice) as seen:
        for _ in range(3 if long else 1):
            before = leaf_in(live)
            put(live, private, root.certificate, half=True)
            eventually(lambda: load_failures(stack.state), what="a failure that is known")
            assert "could not be replaced" in stack.command("status").stdout
            assert shown_leaf("127.0.0.1", stack.port) == before, "what was served is served on"
            put(live, private, root.certificate)
            eventually(lambda: leaf_in(live) == shown_leaf("127.0.0.1", stack.port), what="the new one")
            eventually(lambda: not load_failures(stack.state), what="no finding any more")
        rotate(stack, what="svids")
        rotate(stack, what="ca")
        assert leaf_in(live) == shown_leaf("127.0.0.1", stack.port)
    steady(seen)
    owner = [
        file.stat().st_mode & 0o777 for file in (stack.run / "given" / "edge" / "certs").glob("web.*.pem")
    ]
    assert set(owner) <= {0o600, 0o640}
    start_over(stack)
    assert leaf_in(live) == shown_leaf("127.0.0.1", stack.port)
    (live / "privkey.pem").unlink()
    down(stack)
    done = stack.command(*START)
    assert done.returncode == Exit.UNSAFE and "MW3041" in done.stderr, done
    put(live, private, root.certificate)
    start_again(stack)
    apply(stack, policy_of(json.loads(stack.policy.read_text())), allow=["widening"])
    assert stack.call("GET", PATH, alice).status == 200


def put(live: Path, authority: Authority, root: x509.Certificate, *, half: bool = False) -> None:
    """As certbot does: files of a number of their own, to which links are then turned. `half`: the chain only."""
    archive = live.parent / "archive"
    archive.mkdir(exist_ok=True)
    number = len(list(archive.iterdir()))
    issued = authority.issue_web("models.test", datetime.now(UTC))
    parts = {"fullchain.pem": issued.chain + pem_of(root), "privkey.pem": issued.key.reveal()}
    for name, content in parts.items():
        if half and name == "privkey.pem":
            continue
        target = archive / f"{number}-{name}"
        target.write_text(content)
        target.chmod(0o600)
        (live / f".{name}").symlink_to(target)
        (live / f".{name}").rename(live / name)


def leaf_in(live: Path) -> bytes:
    from meshward.runtime.supervise.ready import leaf_of

    return leaf_of((live / "fullchain.pem").read_text())


def down(stack: Stack) -> None:
    os.kill(stack.process.pid, signal.SIGTERM)
    stack.process.wait(60)


def start_over(stack: Stack) -> None:
    down(stack)
    start_again(stack)
