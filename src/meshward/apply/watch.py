"""`up --watch`: the policy's file, or directory, is followed; what it says is applied, and what is wrong is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meshward.apply.mesh import Mesh
from meshward.apply.sources import read_policy
from meshward.apply.transaction import Wish, apply
from meshward.kit.errors import MeshwardError, PolicyInvalid

_EVERY = 0.5  # seconds
Say = Callable[[str], None]
Sight = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """A policy file or a directory of them."""

    path: Path

    def sight(self) -> Sight:
        """What tells one state of the files from another; empty where there is nothing to see."""
        try:
            files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
            found = [(file, file.stat()) for file in files]
        except OSError:
            return ()
        return tuple((str(file), each.st_mtime_ns, each.st_size, each.st_ino) for file, each in found)


async def follow(watched: Watched, mesh: Mesh, author: str, say: Say) -> None:
    """Apply the policy whenever its files have changed and then stood still. Widening takes a person: it is refused."""
    known = watched.sight()
    while True:
        await asyncio.sleep(_EVERY)
        seen = watched.sight()
        if seen == known:
            continue
        known = await _settled(watched, seen)
        if known:
            await asyncio.to_thread(_apply, watched, mesh, author, say)


async def _settled(watched: Watched, seen: Sight) -> Sight:
    """An editor may write several times: what stands still for a moment is what was meant."""
    while True:
        await asyncio.sleep(_EVERY / 2)
        now = watched.sight()
        if now == seen:
            return now
        seen = now


def _apply(watched: Watched, mesh: Mesh, author: str, say: Say) -> None:
    try:
        wish = Wish(author, f"{watched.path} changed")
        outcome = apply(mesh, read_policy(watched.path), wish, say)
    except PolicyInvalid as error:
        for problem in error.problems:
            say(f"{problem.where or watched.path}: {problem.severity} {problem.code}: {problem.message}")
        say(f"{watched.path} is not applied; revision {mesh.standing.revision} runs on")
    except (MeshwardError, OSError) as error:
        say(f"{watched.path} is not applied: {error}; revision {mesh.standing.revision} runs on")
    else:
        if outcome.change is not None:
            say(f"{watched.path} is revision {outcome.revision} now")
