"""A guard on another machine: the rendered directory as it is, a stock Envoy, and the secrets put beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from guard_harness import EDGE, HOST, Guard, Model, binary, view
from guard_pki import Authority, Signer, Svid

from meshward.apply.guards import GuardAdmin
from meshward.kit.durable import write_atomic
from meshward.kit.names import LONGEST_SOCKET
from meshward.targets.envoy.elsewhere import Elsewhere, render_elsewhere, usual_place
from meshward.targets.envoy.files import validate_command
from meshward.targets.envoy.projection import GuardView
from meshward.testing.stand_ins import free_port
from meshward.testing.waiting import DEADLINE, eventually


class FarGuard(Guard):
    """The harness's guard, met at a port."""

    def connect(self, svid: Svid | str | None = "edge", **_limits: ssl.TLSVersion) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority.bundle)
        if svid is not None:
            holder = self.edge if isinstance(svid, str) else svid
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(holder.key + holder.chain)
                file.flush()
                context.load_cert_chain(file.name)
        assert self.settings.listen is not None
        raw = socket.create_connection(self.settings.listen, DEADLINE)
        return context.wrap_socket(raw, server_hostname=self.view.dns_name)


def put(place: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place / name, content)


def put_svid(place: Path, svid: Svid, bundle: str) -> None:
    """The chain last: that it is renamed is what the guard sees, with its key in place."""
    put(
        place, {"bundle.pem": bundle.encode(), "key.pem": svid.key.encode(), "chain.pem": svid.chain.encode()}
    )


@contextlib.contextmanager
def running(key: str | None = None) -> Iterator[FarGuard]:
    """A guard started by what its directory says; `key`: what its server demands."""
    root = Path(tempfile.mkdtemp(prefix="mwf-"))
    given, own = root / "given", root / "own"
    own.mkdir()
    model = Model(str(root / "model.sock"))
    guarded = view(model.url, credential=key is not None)
    authority, signer = Authority(), Signer()
    place = Elsewhere(("127.0.0.1", free_port()), str(given), str(own))
    put(given, render_elsewhere(guarded, place, (signer.jwk,)))
    expected = json.loads((given / "expected.json").read_text())
    who = authority.issue(expected["svid"]["spiffe_id"], dns=expected["svid"]["dns_name"])
    put_svid(Path(expected["files"]["chain"]).parent, who, authority.bundle)
    if key is not None:
        put(Path(expected["files"]["credential"]).parent, {"credential": f"Bearer {key}".encode()})
    with (root / "stderr").open("wb") as stderr:
        argv = [binary(), *expected["command"][1:]]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
    admin = GuardAdmin(Path(place.settings.admin_socket), os.geteuid())
    versions = {path.stem: json.loads(path.read_text())["version_info"] for path in (given / "xds").iterdir()}
    guard = FarGuard(
        given,
        guarded,
        place.settings,
        authority,
        signer,
        model,
        None,
        process,
        authority.issue(EDGE),  # type: ignore[arg-type]
    )
    try:
        eventually(
            lambda: process.poll() is not None or not admin.missing(versions), what="the guard is live"
        )
        assert process.poll() is None, (root / "stderr").read_text()
        yield guard
    finally:
        process.terminate()
        process.wait(DEADLINE)
        model.close()
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def far() -> Iterator[FarGuard]:
    with running() as guard:
        yield guard


def test_the_edge_is_answered(far: FarGuard) -> None:
    assert far.ask().status == 200
    assert far.model.seen[-1].target == "/embed"


def test_nobody_else_sends_a_byte(far: FarGuard) -> None:
    other = far.authority.issue("spiffe://td.test/ns/jobs/sa/scorer")
    foreign = Authority("another").issue(EDGE)
    for svid in (None, other, foreign):
        with pytest.raises((OSError, EOFError)):
            far.ask(connection=far.connect(svid))


def test_it_shows_the_name_that_the_edge_verifies(far: FarGuard) -> None:
    certificate = far.connect().getpeercert()
    assert certificate and ("DNS", HOST) in certificate["subjectAltName"]


@pytest.mark.parametrize(
    ("target", "token", "status"),
    [
        ("/embed", None, 401),
        ("/embed", "a.b.c", 401),
        ("/v1/secret", "good", 403),
        ("/x/../embed", "good", 403),
    ],
)
def test_it_decides_as_any_guard(far: FarGuard, target: str, token: str | None, status: int) -> None:
    seen = len(far.model.seen)
    assert far.ask(target, token=token).status == status
    assert len(far.model.seen) == seen


def test_its_svid_is_renewed_by_a_rename(far: FarGuard) -> None:
    old = far.connect().getpeercert(binary_form=True)
    fresh = far.authority.issue(far.view.spiffe_id, dns=HOST)
    put_svid(far.directory / "svid", fresh, far.authority.bundle)
    eventually(
        lambda: far.connect().getpeercert(binary_form=True) != old, what="the new certificate is shown"
    )
    assert far.ask().status == 200


def test_rules_change_by_a_rename(far: FarGuard) -> None:
    less = dataclasses.replace(far.view, routes=far.view.routes[:1])
    place = Elsewhere(far.settings.listen or ("", 0), str(far.directory), far.settings.directory)
    files = render_elsewhere(less, place, (far.signer.jwk,))
    before = (far.directory / "xds/rds.json").read_bytes()
    put(far.directory, {"xds/rds.json": files["xds/rds.json"]})
    try:
        eventually(lambda: far.ask().status != 200, what="the route is gone")
    finally:
        put(far.directory, {"xds/rds.json": before})
        eventually(lambda: far.ask().status == 200, what="the route is back")


def test_the_servers_key_comes_from_its_own_file() -> None:
    with running(key="the-servers-own") as guard:
        assert guard.ask(headers=(("Authorization", "Bearer the-callers"),)).status == 200
        assert guard.model.seen[-1].header("authorization") == "Bearer the-servers-own"
        put(guard.directory / "keys", {"credential": b"Bearer another"})
        eventually(
            lambda: (
                guard.ask().status == 200 and guard.model.seen[-1].header("authorization") == "Bearer another"
            ),
            what="the new key is sent",
        )


def rendered(guarded: GuardView, place: Elsewhere) -> Mapping[str, bytes]:
    return render_elsewhere(guarded, place, (Signer().jwk,))


def test_envoy_judges_what_it_is_started_with(tmp_path: Path) -> None:
    place = Elsewhere(("0.0.0.0", 8443), str(tmp_path), str(tmp_path / "own"))
    put(tmp_path, rendered(view("http://127.0.0.1:8000"), place))
    (tmp_path / "own").mkdir()
    judged = subprocess.run(validate_command(binary(), str(tmp_path / "guard.json")), capture_output=True)
    assert judged.returncode == 0, judged.stderr.decode()


def test_nothing_secret_is_rendered() -> None:
    files = rendered(view("http://127.0.0.1:8000", credential=True), usual_place("m.1", "v1", "gpu1", 8443))
    text = b"".join(files.values()).decode()
    assert "PRIVATE KEY" not in text and "inline_bytes" not in text
    assert {name for name in files if not name.startswith("xds/")} == {
        "README.txt",
        "expected.json",
        "guard.json",
    }


@pytest.mark.parametrize(
    ("host", "anywhere"), [("gpu1.internal", "0.0.0.0"), ("10.0.0.7", "0.0.0.0"), ("fd00::7", "::")]
)
def test_it_listens_in_the_family_that_the_edge_calls(host: str, anywhere: str) -> None:
    assert usual_place("m", "v1", host, 8443).listen == (anywhere, 8443)


def test_the_longest_names_fit_a_socket_and_are_kept_apart() -> None:
    long = "a" * 62
    places = [usual_place(f"{long}{end}", f"{long}{end}", "gpu1", 1) for end in "bc"]
    assert places[0].own != places[1].own
    assert all(len(each.settings.admin_socket) <= LONGEST_SOCKET for each in places)
    for one, other in ((("a", "b.c"), ("a.b", "c")), (("a", "b-c"), ("a-b", "c"))):
        assert usual_place(*one, "h", 1).own != usual_place(*other, "h", 1).own
