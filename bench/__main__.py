"""python -m bench [SCENARIO...] [--rounds N] [--peers-dir DIR]

Scenarios: path, decisions, memory, peers; all of them without a name. Each writes its section of bench/RESULTS.md.
Only `peers` needs a network, once, to install them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from meshward.runtime.directories import State, run_path

from bench import path, report
from bench.processes import BenchError
from bench.report import Section

ROUNDS = 5
SCENARIOS: dict[str, Callable[[Path, int], Section]] = {
    "path": path.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="What identity costs on this machine."
    )
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="alternated rounds of each load")
    options = parser.parse_args()
    unknown = set(options.scenario) - set(SCENARIOS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    try:
        for name in options.scenario or SCENARIOS:
            with workshop() as directory:
                section = SCENARIOS[name](directory, options.rounds)
            report.write(section, list(SCENARIOS))
            print("\n".join([f"## {section.title}", "", *section.lines, ""]), flush=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def workshop() -> Iterator[Path]:
    """A directory with a short path, that other uids may pass; with it goes what an instance in it left elsewhere."""
    with tempfile.TemporaryDirectory(prefix="mwb") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory
        if os.geteuid() == 0:
            shutil.rmtree(run_path(State(directory / "s")), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
