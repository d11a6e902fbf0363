"""A supervisor of its own process, to be signalled and killed: `python supervised.py STATE JSON`.

JSON is {"timing": {...}, "parts": [{"name", "argv", "ready", ...}], "later": [...]}; a part is ready when its file
`ready` exists. Prints READY, and after a MeshwardError its code, message and remedy. What is `later` comes after
READY, in turn: {"add": part, "needed_by": [...]} or {"remove": name}.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from meshward.kit.errors import MeshwardError
from meshward.runtime.place.directories import clean, open_state
from meshward.runtime.place.identities import ProcessIdentity, starter
from meshward.runtime.place.lock import hold_state
from meshward.runtime.supervise.part import Timing
from meshward.runtime.supervise.process import ProcessSpec
from meshward.runtime.supervise.ready import file_exists
from meshward.runtime.supervise.supervisor import Supervisor


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    wanted = json.loads(sys.argv[2])
    try:
        state = open_state(Path(sys.argv[1]))
        with hold_state(state):
            specs = [spec_of(part, state.log(part["name"])) for part in wanted["parts"]]
            timing = Timing(**wanted.get("timing", {}))
            asyncio.run(supervise(state, specs, timing, wanted.get("later", [])))
            clean(state)
    except MeshwardError as error:
        say(json.dumps([error.code.number, error.message, error.remedy]))
        return error.exit_code
    return 0


async def supervise(state: Any, specs: list[ProcessSpec], timing: Timing, later: list[Any]) -> None:
    supervisor = Supervisor(state, specs, notes=["a note"], progress=say, timing=timing)
    tasks = []

    def ready() -> None:
        say("READY")
        tasks.append(asyncio.create_task(come_and_go(supervisor, state, later)))

    await supervisor.run(ready)


async def come_and_go(supervisor: Supervisor, state: Any, later: list[Any]) -> None:
    for step in later:
        if "add" in step:
            name = step["add"]["name"]
            try:
                await supervisor.add(spec_of(step["add"], state.log(name)), step.get("needed_by", ()))
                say(f"ADDED {name}")
            except MeshwardError as error:
                say(f"FAILED {name} {error.code.number}")
        else:
            await supervisor.remove(step["remove"])
            say(f"REMOVED {step['remove']}")


def spec_of(part: dict[str, Any], log: Path) -> ProcessSpec:
    uid = part.pop("uid", None)
    ready = file_exists(Path(part.pop("ready", "/")))
    for key in ("stop_signal", "death_signal"):
        if key in part:
            part[key] = signal.Signals(part[key])
    for key in ("argv", "depends_on"):
        part[key] = tuple(part.get(key, ()))
    part["handed"] = tuple(Path(path) for path in part.get("handed", ()))
    part["cwd"] = Path(part.get("cwd", "/"))
    return ProcessSpec(identity=ProcessIdentity(uid, uid) if uid else starter(), ready=ready, log=log, **part)


if __name__ == "__main__":
    sys.exit(main())
