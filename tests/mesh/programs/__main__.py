"""python -m tests.mesh.programs: build what is not there yet, and say what cannot be. Interrupted, it begins again.

Cold it takes a quarter of an hour on two cores, 2 GB of modules and 5 GB of Go's build cache.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.mesh.programs import PROGRAMS, Program, cache, find

GO = (1, 26)


def main() -> int:
    """0 also where programs are missing: their tests are then named as not run."""
    missing = [program for program in PROGRAMS if find(program) is None]
    wrongly_named = [program for program in missing if program.variable in os.environ]
    for program in wrongly_named:
        _say(f"{program.name}: {program.variable} names no program")
    to_build = [program for program in missing if program not in wrongly_named]
    if to_build and (reason := _hindrance()):
        _say(f"not built: {', '.join(program.name for program in to_build)}: {reason}")
        return 0
    for program in to_build:
        with _alone():
            if find(program) is None:  # another run may have built it while we waited
                _build(program)
    return 0


def _hindrance() -> str | None:
    """Why Go programs cannot be built here."""
    go = shutil.which("go")
    if go is None:
        return f"Go {GO[0]}.{GO[1]} is not here"
    version = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < GO:
        return f"Go {GO[0]}.{GO[1]} is not here ({version.strip() or 'no version'})"
    return None


def _build(program: Program) -> None:
    """Build beside its place, then rename: what has its name is whole."""
    directory = program.built.parent
    directory.mkdir(parents=True, exist_ok=True)
    half = directory / f"{program.name}.half"
    began = time.monotonic()
    _say(f"building {program.name} (once on this machine; the first takes minutes)")
    done = subprocess.run(
        ["go", "build", "-ldflags", program.linked, "-o", str(half), program.package],
        cwd=program.sources,
        env=os.environ
        | {"GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off", "GOTOOLCHAIN": "local"},
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode:
        half.unlink(missing_ok=True)
        _say(f"not built: {program.name}: go build failed, see above (it needs a network once)")
        return
    half.rename(program.built)
    _say(f"built {program.name} in {time.monotonic() - began:.0f} s")


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time on this machine, also by two checkouts; the lock goes with whoever holds it."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"mesh: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
