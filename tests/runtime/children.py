"""Small programs that stand for nginx, Envoy and the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def shell(name: str, text: str, folder: Path, **more: Any) -> dict[str, Any]:
    """A part that runs `text` in `folder`; it is ready when it made the file NAME.ready."""
    script = f"cd {folder}; {text}"
    return {"name": name, "argv": ["/bin/sh", "-c", script], "ready": str(folder / f"{name}.ready"), **more}


def sleeper(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Ready at once; writes its pid into NAME.pids at every start."""
    return shell(name, f"echo $$ >> {name}.pids; touch {name}.ready; exec sleep 1000", folder, **more)


def teller(name: str, folder: Path, slow: float, **more: Any) -> dict[str, Any]:
    """Tells `events` when it started and when it stops, which takes it `slow` seconds."""
    stop = f"trap 'sleep {slow}; echo stop {name} >> events; exit 0' TERM"
    text = f"{stop}; echo start {name} >> events; touch {name}.ready; while :; do sleep 1000 & wait $!; done"
    return shell(name, text, folder, **more)


def master(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Like nginx: a master that ends its workers when it is told to end; they outlive a kill -9 of it."""
    text = f"""echo $$ >> {name}.pids; sleep 1000 & echo $! >> {name}.workers
        trap 'kill $!; exit 0' TERM; touch {name}.ready; wait"""
    return shell(name, text, folder, **more)
