"""`up --watch`: a policy is followed; what it says is applied, and what is wrong with it is said.

A file, or directory, is followed as it stands. One in a git checkout is followed as it is committed: when HEAD comes
to be another commit, that commit's policy is applied, with the commit as its reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from meshward.apply.follow.checkout import Checkout, checkout_of, has_git
from meshward.apply.mesh import Mesh
from meshward.apply.sources import read_policy
from meshward.apply.transaction import ApplyRequest, apply
from meshward.kit.errors import MeshwardError, PolicyInvalid
from meshward.policy.parse import Document, parse

_EVERY = 0.5  # seconds
Say = Callable[[str], None]
Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class FoundPolicy:
    """A policy that is to be applied, and why."""

    document: Document
    reason: str


class Watched(Protocol):
    """What is followed."""

    @property
    def path(self) -> Path: ...

    def fingerprint(self) -> Fingerprint:
        """What tells one state of it from another; empty where there is nothing to see. Never raises."""

    def read(self, say: Say) -> FoundPolicy | None:
        """The policy; None where it is the one that was read last. Raises MeshwardError, PolicyInvalid."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A policy file or a directory of them, as it stands."""

    path: Path

    def fingerprint(self) -> Fingerprint:
        try:
            files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
            found = [(file, file.stat()) for file in files]
        except OSError:
            return ()
        return tuple((str(file), each.st_mtime_ns, each.st_size, each.st_ino) for file, each in found)

    def read(self, _: Say) -> FoundPolicy:
        return FoundPolicy(read_policy(self.path), f"{self.path} changed")


@dataclass(slots=True)
class Committed:
    """A policy in a git checkout. `known` is the commit that was read last."""

    checkout: Checkout
    known: str = ""

    @property
    def path(self) -> Path:
        return self.checkout.path

    def fingerprint(self) -> Fingerprint:
        try:
            return ((self.checkout.head(), 0, 0, 0), *Plain(self.path).fingerprint())
        except MeshwardError:  # in the middle of a checkout, or broken: what was seen last goes on
            return ()

    def read(self, say: Say) -> FoundPolicy | None:
        commit = self.checkout.head()
        if self.checkout.differs(commit):
            say(
                f"edits of {self.path} that are not committed are not applied: commit {commit[:8]} is followed"
            )
        if commit == self.known:
            return None
        self.known = commit
        return FoundPolicy(parse(self.checkout.sources(commit)), self.checkout.commit(commit).sentence)


def watch_path(path: Path, say: Say) -> Watched:
    """How `path` is followed; `say` hears of it. Raises MeshwardError for a checkout of somebody else."""
    if not has_git():
        say(f"{path} is followed as a file: there is no git that could say what is committed")
        return Plain(path)
    checkout = checkout_of(path)
    if checkout is None:
        say(f"{path} is followed as a file: no commit of a checkout holds it")
        return Plain(path)
    say(f"{path} is followed as it is committed in {checkout.top}")
    return Committed(checkout)


async def follow(watched: Watched, mesh: Mesh, author: str, say: Say) -> None:
    """Apply the policy whenever it has changed and then stood still. Widening takes a person: it is refused."""
    known = await asyncio.to_thread(watched.fingerprint)
    await asyncio.to_thread(
        _apply, watched, mesh, author, say
    )  # it may have moved on while the instance started
    while True:
        await asyncio.sleep(_EVERY)
        seen = await asyncio.to_thread(watched.fingerprint)
        if seen == known or not seen:
            continue
        known = await _wait_until_settled(watched, seen)
        if known:
            await asyncio.to_thread(_apply, watched, mesh, author, say)


async def _wait_until_settled(watched: Watched, seen: Fingerprint) -> Fingerprint:
    """An editor may write several times: what stands still for a moment is what was meant."""
    while True:
        await asyncio.sleep(_EVERY / 2)
        now = await asyncio.to_thread(watched.fingerprint)
        if now == seen:
            return now
        seen = now


def _apply(watched: Watched, mesh: Mesh, author: str, say: Say) -> None:
    try:
        found = watched.read(say)
        outcome = apply(mesh, found.document, ApplyRequest(author, found.reason), say) if found else None
    except PolicyInvalid as error:
        for problem in error.problems:
            say(f"{problem.where or watched.path}: {problem.severity} {problem.code}: {problem.message}")
        say(f"{watched.path} is not applied; revision {mesh.live.revision} runs on")
    except (MeshwardError, OSError) as error:
        say(f"{watched.path} is not applied: {error}; revision {mesh.live.revision} runs on")
    else:
        if outcome is not None and outcome.change is not None:
            say(f"{watched.path} is revision {outcome.revision} now")
