"""Where versions elsewhere are, as addresses; and what of a name that changes, or that a site could make of one."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.follow import addresses
from meshward.apply.live_revision import LiveRevision
from meshward.apply.places import describe_place, resolve_places
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.plan.placement import RemoteGuard, place, plan_at
from meshward.policy.schema import Policy
from meshward.policy.site import Site
from meshward.runtime.place.neighbours import neighbours, warn_of_neighbours
from meshward.targets.nginx.wire import Address, Choice, Far, Near, Place, Slot, read_place

POLICY = Policy.model_validate(
    {
        "version": 1,
        "trust_domain": "td.test",
        "edge": {},
        "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}},
    }
)


def site(guard: str) -> Site:
    return Site.model_validate({"version": 1, "models": {"m": {"v1": {"guard": guard}}}}, by_alias=True)


def resolved(guard: str, *found: str, known: Place | None = None) -> Place:
    at = site(guard)
    placed = place(plan_at(POLICY, at), at)
    before = {} if known is None else {"m/v1": known}
    return resolve_places(placed, before, lambda _: [ip_address(each) for each in found])["m/v1"]


def test_an_address_is_asked_of_nobody() -> None:
    assert str(resolved("10.0.0.7:8443")) == "far/10.0.0.7:8443"
    assert str(resolved("[fd00::7]:8443")) == "far/[fd00::7]:8443"


def test_a_name_keeps_the_address_in_use_while_it_has_it() -> None:
    here = Far(ip_address("10.0.0.2"), 8443)
    assert str(resolved("g.internal:8443", "10.0.0.1", "10.0.0.2")) == "far/10.0.0.1:8443"
    assert resolved("g.internal:8443", "10.0.0.1", "10.0.0.2", known=here) == here
    assert str(resolved("g.internal:8443", "10.0.0.1", known=here)) == "far/10.0.0.1:8443"


@pytest.mark.parametrize("found", [[], ["0.0.0.0"], ["::"], ["224.0.0.1"], ["::ffff:10.0.0.1"]])
def test_a_name_that_leads_nowhere_is_refused(found: list[str]) -> None:
    with pytest.raises(MeshwardError) as refused:
        resolved("g.internal:8443", *found)
    assert refused.value.code == codes.PLACE_UNKNOWN


NAME = "m.models.svc.cluster.local"


@pytest.mark.parametrize(
    "odd",
    [
        lambda: Near(ip_address("10.0.0.1"), 80, NAME),
        lambda: Near(ip_address("127.0.0.1"), 0, NAME),
        lambda: Near(ip_address("127.0.0.1"), 80, f"{NAME}:81"),
        lambda: Near(ip_address("127.0.0.1"), 80, "localhost"),
        lambda: Near(ip_address("127.0.0.1"), 80, "a.b\r\nX: y"),
        lambda: Near(ip_address("127.0.0.1"), 80, "A.b"),
        lambda: Near(ip_address("127.0.0.1"), 80, "a..b"),
        lambda: Far(ip_address("fe80::1%eth0"), 80),
        lambda: Far(ip_address("10.0.0.1"), 65536),
        lambda: Slot("7"),
        lambda: read_place("near/127.0.0.1:80"),
        lambda: read_place("far/10.0.0.1:080"),
        lambda: read_place("far/10.0.0.01:80"),
        lambda: read_place("far/g.internal:80"),
    ],
)
def test_nothing_else_can_be_said_to_nginx(odd: Any) -> None:
    with pytest.raises(ValueError):
        odd()


@pytest.mark.parametrize("word", ["07", "far/10.0.0.1:8443", "far/[fd00::1]:1", f"near/127.0.0.1:80/{NAME}"])
def test_a_place_reads_back(word: str) -> None:
    assert str(read_place(word)) == word
    assert str(Choice(3, read_place(word), "v1.m.td.test", "a b")) == f"3 {word} v1.m.td.test a%20b"


class Mesh:
    """As far as it is asked here: it notes what the decision service would be told."""

    def __init__(self, live: LiveRevision) -> None:
        self.live, self.notes = live, list[str]()
        self.machine = self.supervisor = self.ahead = None


def test_a_machine_that_moved_is_followed_and_one_that_is_not_found_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from contextlib import nullcontext
    from dataclasses import dataclass

    @dataclass
    class Running:
        live: LiveRevision

    at, told = site("g.internal:8443"), list[dict[str, str]]()
    first: dict[str, Place] = {"m/v1": Far(ip_address("10.0.0.1"), 8443)}
    mesh: Any = Mesh(LiveRevision(POLICY, plan_at(POLICY, at), 1, {}, site=at, elsewhere=first))
    mesh.running, mesh.turn = Running(mesh.live), nullcontext
    mesh.swap = lambda running: setattr(mesh, "live", running.live)
    mesh.note = lambda *_, **facts: mesh.notes.append(facts["now"])

    class Hop:
        def __init__(self, *_: object) -> None: ...

        def switch(self, live: LiveRevision, *_: object) -> None:
            told.append({key: str(place) for key, place in live.elsewhere.items()})

    def nowhere(_: str) -> list[Address]:
        raise OSError("no such name")

    monkeypatch.setattr(addresses, "DecisionHop", Hop)
    addresses.follow_addresses(mesh, nowhere)
    addresses.follow_addresses(mesh, lambda _: [ip_address("10.0.0.1")])
    assert told == []
    addresses.follow_addresses(mesh, lambda _: [ip_address("10.0.0.9")])
    assert told == [{"m/v1": "far/10.0.0.9:8443"}] and mesh.notes == ["far/10.0.0.9:8443"]
    assert mesh.live.elsewhere["m/v1"].address == ip_address("10.0.0.9")


def test_who_enforces_there_is_said() -> None:
    assert "render --target envoy" in describe_place(RemoteGuard("fd00::1", 8443))
    assert "[fd00::1]:8443" in describe_place(RemoteGuard("fd00::1", 8443))


def test_neighbours_are_those_in_the_same_network(tmp_path: Path) -> None:
    import os

    def process(pid: int, parent: int, network: str) -> None:
        (tmp_path / str(pid) / "ns").mkdir(parents=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a ) b) S {parent} 1 1")
        (tmp_path / str(pid) / "ns" / "net").symlink_to(network)

    ours = os.getpid()
    process(ours, 2, "net:[1]")
    process(2, 0, "net:[1]")  # what started us
    process(ours + 1, 2, "net:[2]")
    (tmp_path / "self").symlink_to(str(ours))
    assert neighbours(tmp_path) == {} and warn_of_neighbours({}, "127.0.2.1") == ""
    process(ours + 2, 2, "net:[1]")
    assert neighbours(tmp_path) == {os.getuid(): 1}
    assert "1 other process (uid 7) share" in warn_of_neighbours({7: 1}, "127.0.2.1")
