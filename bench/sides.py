"""Both sides of a comparison, running at once on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import requests
from bench.bare import bare_edge, bare_guard, envoy, lane
from bench.load import Target
from bench.mock import Mock, mock_model
from bench.processes import BenchError, Meter
from bench.whole import Whole, whole_instance
from meshward.runtime.place.instance_file import Guarded


@dataclass(frozen=True)
class Sides:
    """The full and the bare path, to be loaded in turn. `guarded` is the full side's guard of `mock`."""

    full: Target
    bare: Target
    whole: Whole
    mock: Mock
    guarded: Guarded
    directory: Path


@contextmanager
def sides(directory: Path) -> Iterator[Sides]:
    with ExitStack() as stack:
        mock = stack.enter_context(mock_model(directory))
        whole = stack.enter_context(whole_instance(directory, mock))
        full = whole.target(directory, "mock", "/m/mock/embed", requests.prompt())
        guarded = next(guard for guard in whole.instance.guards if guard.model == "mock")
        place = (
            directory / f"slot{guarded.slot}"
        )  # where the edge's variants look for a guard of this slot and name
        bootstrap = bare_guard(place, whole.authority, mock.socket, guarded.dns_name)
        guard_pid = stack.enter_context(envoy(place, bootstrap, place / "guard.sock"))
        bare = lane(place / "guard.sock", guarded.dns_name)
        edge_pid = stack.enter_context(bare_edge(directory / "bare-edge", whole.authority, [bare]))
        target = Target(bare.port, full.request, Meter({"edge": edge_pid, "guard": guard_pid}))
        status, answer = target.once()
        if status != 200:
            raise BenchError(f"the bare path does not serve: {answer[:500]!r}")
        yield Sides(full, target, whole, mock, guarded, directory)
