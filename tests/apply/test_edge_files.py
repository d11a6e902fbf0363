"""The edge's certificates as they lie there: withdrawn, unreadable, broken. Said at once, written anew."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply.counters import Counters
from meshward.apply.edge_page import EdgePage, page_bytes
from meshward.apply.guards import Issue
from meshward.apply.hop_files import CLIENT, WEB, Owner, certificate_names, edge_certificates
from meshward.apply.keys import schedule
from meshward.apply.keys.inventory import (
    CA,
    EDGE_CERTIFICATE,
    SIGNING_KEY,
    SVIDS,
    list_due,
    load_failures,
    read_ages,
    save_failure,
    take_inventory,
)
from meshward.apply.keys.renew import renew_edge
from meshward.apply.live_revision import LiveRevision
from meshward.apply.mesh import Mesh, Running
from meshward.instance import key_ages
from meshward.kit import codes
from meshward.kit.clock import system_clock
from meshward.kit.errors import MeshwardError
from meshward.plan.resolve import resolve
from meshward.runtime.place.directories import Run, State
from meshward.runtime.place.identities import ProcessIdentity
from meshward.spiffe.ca import load_or_create as load_authority
from meshward.spiffe.ids import SpiffeId
from meshward.tokens.key_store import load_or_create as load_keys
from tests.edge.mesh import POLICY
from tests.stack.live import policy_of

UNKNOWN: Any = None
GENERATION = 4


class Place:
    """STATE and RUN with what the edge is handed, and a mesh above them that nobody runs."""

    def __init__(self, directory: Path, files: Path | None) -> None:
        self.state, self.run = State(directory / "state"), Run(directory / "run")
        certs = self.run.edge_given / "certs"
        for each in (self.state.path, self.run.edge_dir, certs):
            each.mkdir(parents=True)
        self.edge = ProcessIdentity(os.geteuid(), os.getegid())
        document = copy.deepcopy(POLICY)
        if files is not None:
            document["edge"]["certificate"] = {"from": "files", "path": str(files)}
        self.policy = policy_of(document)
        self.plan = resolve(self.policy)
        self.authority = load_authority(self.state.path / "ca", self.plan.trust_domain)
        load_keys(self.state.path / "keys")
        self.web = self.authority.issue_web(self.plan.edge.hostname, datetime.now(UTC)).key_and_chain()
        client = self.authority.issue(SpiffeId(self.plan.trust_domain, "/edge"), None, datetime.now(UTC))
        names, owner = certificate_names(GENERATION), Owner(self.edge)
        owner.write(certs / names[WEB], self.web)
        owner.write(certs / names[CLIENT], client.key_and_chain())
        owner.write(self.run.edge_given / "page", page_bytes(1, GENERATION))
        machine: Any = SimpleNamespace(state=self.state, run=self.run, edge=self.edge)
        live = LiveRevision(self.policy, self.plan, 1, {})
        self.mesh = Mesh(machine, Running(live, UNKNOWN, Counters(revision=1, generation=GENERATION)))
        self.lacking: list[str] = []
        supervisor: Any = SimpleNamespace(stopping=False, arrival=self._arrival)
        self.mesh.attach(supervisor)
        self.notes = list[tuple[str, dict[str, str]]]()

    def _arrival(self, hop: str, _: object) -> None:
        if self.lacking:
            raise MeshwardError(codes.NOT_HANDED_OUT, f"{hop}: {self.lacking}")

    def file(self, stem: str) -> Path:
        return edge_certificates(self.run)[stem]

    def faults(self) -> dict[str, str]:
        return {
            each.what: each.fault
            for each in read_ages(self.state.path, self.run, self.plan, {})
            if each.fault
        }

    def due(self) -> tuple[str, ...]:
        return list_due(take_inventory(self.state.path, self.run, self.plan, {}), system_clock())

    def renew(self, *stems: str) -> None:
        with self.mesh.turn():
            renew_edge(self.mesh, Issue(self.authority, UNKNOWN, UNKNOWN), *stems)


@pytest.fixture
def make_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Place]:
    def make(files: Path | None = None) -> Place:
        place = Place(tmp_path / "instance", files)
        monkeypatch.setattr(place.mesh, "note", lambda _, did, **what: place.notes.append((did, what)))
        return place

    return make


@pytest.fixture
def place(make_place: Callable[..., Place]) -> Place:
    return make_place()


def mix(file: Path) -> None:
    """Another certificate's key, and the chain as it was."""
    chain, client = file.read_text(), file.with_name(f"{CLIENT}.{GENERATION}.pem").read_text()
    begin = "-----BEGIN CERTIFICATE"
    file.write_text(client[: client.index(begin)] + chain[chain.index(begin) :])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda file: file.chmod(0), "may not read"),
        (lambda file: file.chmod(0o644), "others may use"),
        (lambda file: file.unlink(), "No such file"),
        (lambda file: file.write_text(file.read_text()[:700]), "broken one"),
        (lambda file: mix(file), "another certificate's"),
        (
            lambda file: (file.rename(file.with_suffix(".x")), file.symlink_to(file.with_suffix(".x"))),
            "not the file",
        ),
        (lambda file: file.parent.chmod(0o600), ""),
    ],
)
def test_what_nginx_could_not_read_again_is_named_and_written_anew(
    place: Place, spoil: Callable[[Path], object], told: str
) -> None:
    assert place.faults() == {} and place.due() == ()
    spoil(place.file(WEB))
    assert told in place.faults()[EDGE_CERTIFICATE]
    assert EDGE_CERTIFICATE in place.due()
    finding = next(each for each in read_ages(place.state.path, place.run, place.plan, {}) if each.fault)
    assert "not as it was handed out" in finding.finding(system_clock())
    place.renew(WEB)
    assert place.faults() == {} and place.due() == ()


def test_one_that_is_unreadable_keeps_no_other_from_being_renewed(place: Place) -> None:
    place.file(WEB).chmod(0)
    place.renew(CLIENT)
    assert place.faults() == {}, "the other one was issued anew beside it"
    place.file(CLIENT).write_text("")
    assert SVIDS in place.due()
    (place.run.edge_given / "page").unlink()
    for directory in ("ca", "keys"):
        for file in (place.state.path / directory).iterdir():
            file.write_text("spoilt")
    assert set(place.faults()) == {EDGE_CERTIFICATE, SVIDS, CA, SIGNING_KEY}
    assert place.due() == (SVIDS, EDGE_CERTIFICATE), "STATE's own has no successor without itself"


def test_a_generation_that_nginx_was_not_seen_to_take_is_not_shown(place: Place) -> None:
    page, before = EdgePage.in_directory(place.run.edge_given), place.file(WEB).read_text()
    place.lacking = ["it shows another certificate"]
    for _ in range(3):
        with pytest.raises(MeshwardError):
            place.renew(WEB)
        assert page.generation == GENERATION and place.file(WEB).read_text() == before
    place.lacking = []
    place.renew(WEB)
    assert page.generation > GENERATION + 3 and place.file(WEB).read_text() != before
    place.file(WEB).chmod(0)
    place.lacking, shown = ["it cannot be asked"], page.generation
    with pytest.raises(MeshwardError):
        place.renew(WEB)
    assert page.generation == shown + 1, "the one before was no good either"


def test_withdrawn_files_are_said_noted_and_named_by_status_until_they_are_good_again(
    make_place: Callable[..., Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "SETTLED", 0)
    files = tmp_path / "live"
    files.mkdir()
    place = make_place(files)
    pem = place.web.reveal()
    for name in ("fullchain.pem", "privkey.pem"):
        (files / name).write_text(pem)
    key = files / "privkey.pem"
    monkeypatch.setattr(key_ages, "load_running_plan", lambda _: resolve(place.policy))
    monkeypatch.setattr(key_ages, "run_path", lambda _: place.run.path)

    def findings() -> tuple[str, ...]:
        return key_ages.keys_of(place.state).findings

    def spoil(how: Callable[[], object]) -> None:
        schedule.take_files(place.mesh)
        assert findings() == () and load_failures(place.state.path) == {}
        place.notes.clear()
        how()
        assert "MW3041" in "".join(findings()), "before anybody else has looked"
        schedule.take_files(place.mesh)
        schedule.take_files(place.mesh)
        (finding,) = findings()
        assert "MW3041" in finding and str(files) in finding and "`path` names a directory" in finding
        assert [(did, what["came"]) for did, what in place.notes] == [("certificate", "unfit")]
        files.chmod(0o700)
        key.unlink(missing_ok=True)
        key.write_text(pem)
        schedule.take_files(place.mesh)
        assert place.notes[-1] == ("certificate", {"came": "fit"}) and findings() == ()

    other = place.authority.issue_web(place.plan.edge.hostname, datetime.now(UTC)).key.reveal()
    spoil(lambda: key.chmod(0))
    spoil(lambda: files.chmod(0))
    spoil(key.unlink)
    spoil(lambda: key.write_text(other))
    spoil(lambda: key.write_text(""))


def test_a_served_file_that_is_gone_is_handed_out_again_from_the_operators(
    make_place: Callable[..., Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "SETTLED", 0)
    replaced = list[str]()
    monkeypatch.setattr(schedule, "_replace", lambda _, what: replaced.append(what))
    place = make_place(tmp_path / "both.pem")
    (tmp_path / "both.pem").write_text(place.web.reveal())
    place.file(WEB).unlink()
    schedule.take_files(place.mesh)
    assert replaced == [EDGE_CERTIFICATE] and EDGE_CERTIFICATE in place.due()
    save_failure(place.state.path, EDGE_CERTIFICATE, "MW3021: the edge: not there")
    schedule.take_files(place.mesh)
    assert len(replaced) == 1, "every other change would wait for it"
