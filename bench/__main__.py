"""python -m bench [SCENARIO...] [--rounds N] [--peers-dir DIR]

All scenarios without a name (`--help` lists them). Each writes its section of bench/RESULTS.md. Only `peers` needs a
network, once, to install them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import (
    align,
    callers,
    collector,
    decisions,
    handshakes,
    hostile,
    live,
    memory,
    mesh_change,
    path,
    peers,
    render,
    report,
    scan,
    transfers,
)
from bench.processes import BenchError
from bench.report import Section
from meshward.runtime.place.directories import State, run_path

ROUNDS = 5
PEERS = Path(".bench-peers")
Scenario = Callable[[Path, int], Section]


def main() -> int:
    options = _options()
    scenarios = _scenarios(options.peers_dir.absolute())
    failed = [name for name in options.scenario or scenarios if not _run(name, scenarios, options.rounds)]
    return 1 if failed else 0


def _run(name: str, scenarios: Mapping[str, Scenario], rounds: int) -> bool:
    """Whether it wrote its section. One that cannot be measured keeps none of the others from it."""
    began = time.monotonic()
    try:
        with workshop() as directory:
            section = scenarios[name](directory, rounds)
    except BenchError as error:
        print(f"bench: {name}: {error}", file=sys.stderr)
        return False
    report.write(section, list(scenarios))
    print("\n".join([f"## {section.title}", "", *section.lines, ""]), flush=True)
    report.say(f"{name} took {time.monotonic() - began:.0f} s")
    return True


def _scenarios(peers_dir: Path) -> dict[str, Scenario]:
    return {
        "path": path.measure,
        "transfers": transfers.measure,
        "callers": callers.measure,
        "handshakes": handshakes.measure,
        "scan": scan.measure,
        "decisions": decisions.measure,
        "collector": collector.measure,
        "memory": memory.measure,
        "hostile": hostile.measure,
        "live": live.measure,
        "render": render.measure,
        "align": align.measure,
        "mesh": mesh_change.measure,
        "peers": partial(peers.measure, peers=peers_dir),
    }


def _options() -> argparse.Namespace:
    names = list(_scenarios(PEERS))
    parser = argparse.ArgumentParser(prog="python -m bench", description="What identity costs here.")
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(names)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="alternated rounds of each load")
    parser.add_argument(
        "--peers-dir", type=Path, default=PEERS, help="where the peers are or will be installed"
    )
    options = parser.parse_args()
    if unknown := set(options.scenario) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return options


@contextmanager
def workshop() -> Iterator[Path]:
    """A directory with a short path that other uids may pass; what an instance in it left elsewhere goes with it."""
    with tempfile.TemporaryDirectory(prefix="mwb") as name:
        directory = Path(name)
        directory.chmod(0o711)
        try:
            yield directory
        finally:
            if os.geteuid() == 0:
                shutil.rmtree(run_path(State(directory / "s")), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
