"""All sides of the comparison, running at once on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import requests
from bench.bare import bare_edge, bare_guard, envoy, lane
from bench.load import Target
from bench.mock import Mock, mock_model
from bench.processes import Meter
from bench.whole import Whole, whole_instance
from meshward.runtime.place.instance_file import Guarded


@dataclass(frozen=True)
class Sides:
    """The paths, to be loaded in turn. `guarded` is the full side's guard of `mock`."""

    full: Target
    bare: Target
    logged: Target
    whole: Whole
    mock: Mock
    guarded: Guarded
    directory: Path

    def sending(self, stem: str, request: bytes) -> dict[str, Target]:
        """The bare and the full path, both with another request."""
        file = self.directory / f"{stem}.request"
        file.write_bytes(request)
        return {"bare": self.bare.sending(file), "full": self.full.sending(file)}


@contextmanager
def sides(directory: Path) -> Iterator[Sides]:
    with ExitStack() as stack:
        mock = stack.enter_context(mock_model(directory))
        whole = stack.enter_context(whole_instance(directory, mock))
        full = whole.target(directory, "mock", "/m/mock/embed", requests.prompt())
        guarded = next(guard for guard in whole.instance.guards if guard.model == "mock")
        # Where the edge's variants look for a guard of this slot and name.
        place = directory / f"slot{guarded.slot}"
        bare = stack.enter_context(_bare(place, whole, mock, guarded, full.request))
        logged = stack.enter_context(_bare(directory / "logged", whole, mock, guarded, full.request, True))
        yield Sides(full, bare, logged, whole, mock, guarded, directory)


@contextmanager
def _bare(
    place: Path, whole: Whole, mock: Mock, guarded: Guarded, request: Path, logged: bool = False
) -> Iterator[Target]:
    with ExitStack() as stack:
        bootstrap = bare_guard(place, whole.authority, mock.socket, guarded.dns_name, logged)
        guard_pid = stack.enter_context(envoy(place, bootstrap, place / "guard.sock"))
        way = lane(place / "guard.sock", guarded.dns_name)
        edge_pid = stack.enter_context(bare_edge(place / "edge", whole.authority, [way], logged))
        target = Target(way.port, request, Meter({"edge": edge_pid, "guard": guard_pid}))
        target.must_serve("the bare path")
        yield target
