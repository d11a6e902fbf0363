"""One apply at a time in a cluster: a Lease that whoever applies holds, and renews while at work.

Who ended without giving it back is found by the renewals that do not come, or, on the same machine, by the process
that is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname

from meshward.cluster.connection import Object, Server
from meshward.cluster.refusals import Refused, refused_error
from meshward.kit import codes
from meshward.kit.boot import Moment
from meshward.kit.clock import boot_clock
from meshward.kit.errors import MeshwardError

SECONDS = 30
"""After so long without a renewal nobody holds it."""
_POLL, _RENEW = 2.0, 5.0
AUTHOR = "meshward/author"


@dataclass(slots=True)
class Turn:
    """Held: nobody else applies, as long as `keep` is called every few seconds."""

    _server: Server
    _path: str
    _lease: Object
    _renewed: float = field(default_factory=boot_clock)

    def keep(self) -> None:
        """Renew it where that is due. Raises MeshwardError (MW5068) where somebody else has it by now."""
        if boot_clock() - self._renewed < _RENEW:
            return
        self._write(str(self._lease["spec"]["holderIdentity"]))
        self._renewed = boot_clock()

    def give_back(self) -> None:
        """Where that does not arrive, the renewals that stay away say it."""
        with suppress(MeshwardError, Refused):
            self._write("")

    def _write(self, holder: str) -> None:
        body = _with(self._lease, holder)
        try:
            self._lease = self._server.replace(self._path, body)
        except Refused as refused:
            if refused.refusal.status in (404, 409):
                raise held_error(_holder(self._server, self._path)) from None
            raise


@contextmanager
def turn(server: Server, path: str, author: str, pause: Callable[[float], None]) -> Iterator[Turn]:
    """Have the turn within. Raises MeshwardError (MW5068) naming who has it, and for what the server refuses."""
    try:
        held = Turn(server, path, _acquire(server, path, author, pause))
    except Refused as refused:
        raise refused_error(refused.refusal, f"the Lease at `{path}`", server.name) from None
    try:
        yield held
    finally:
        held.give_back()


def _acquire(server: Server, path: str, author: str, pause: Callable[[float], None]) -> Object:
    known: Object | None = None
    for _ in range(int(SECONDS / _POLL) + 1):
        try:
            found = server.get(path)
        except Refused as refused:
            if refused.refusal.status != 404:
                raise
            with suppress(_Taken):
                return _create(server, path, author)
            continue
        if known is not None and _renewal(known) != _renewal(found):
            raise held_error(_words(found))
        if _is_free(found):
            break
        known = found
        pause(_POLL)
    try:
        return server.replace(path, _with(found, _identity(), author))
    except Refused as refused:
        if refused.refusal.status == 409:
            raise held_error(_holder(server, path)) from None
        raise


class _Taken(Exception):
    """Somebody else made it first."""


def _create(server: Server, path: str, author: str) -> Object:
    root, _, name = path.rpartition("/")
    namespace = root.split("/")[-2]
    empty: Object = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {},
    }
    try:
        return server.create(root, _with(empty, _identity(), author))
    except Refused as refused:
        if refused.refusal.status == 409:
            raise _Taken from None
        raise


def _with(lease: Object, holder: str, author: str | None = None) -> Object:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    marks = dict(lease["metadata"].get("annotations") or {})
    if author is not None:
        marks[AUTHOR] = author
    spec = {"holderIdentity": holder, "leaseDurationSeconds": SECONDS, "renewTime": now}
    meta = {name: value for name, value in lease["metadata"].items() if name != "managedFields"}
    return {**lease, "metadata": {**meta, "annotations": marks}, "spec": spec}


def _renewal(lease: Object) -> object:
    spec = lease.get("spec") or {}
    return spec.get("holderIdentity"), spec.get("renewTime")


def _is_free(lease: Object) -> bool:
    holder = str((lease.get("spec") or {}).get("holderIdentity") or "")
    return not holder or _is_gone(holder)


def _identity() -> str:
    """This process, so that another one of this machine can tell whether it is still there."""
    return f"{gethostname()}/{_here()}/{os.getpid()}/{_began(os.getpid())}"


def _here() -> str:
    """The machine's boot and the namespace that process numbers are counted in; empty where neither is known."""
    try:
        return f"{Moment.now().boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When the process began, in ticks; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_gone(holder: str) -> bool:
    host, _, rest = holder.partition("/")
    here, _, process = rest.rpartition("/")
    here, _, pid = here.rpartition("/")
    if not here or (host, here) != (gethostname(), _here()) or not pid.isdigit():
        return False
    return _began(int(pid)) != process


def _words(lease: Object) -> str:
    author = (lease["metadata"].get("annotations") or {}).get(AUTHOR) or "somebody"
    spec = lease.get("spec") or {}
    host = str(spec.get("holderIdentity") or "").partition("/")[0]
    return f"{author} on {host}, renewed at {spec.get('renewTime')}"


def _holder(server: Server, path: str) -> str:
    try:
        return _words(server.get(path))
    except (Refused, MeshwardError):
        return "somebody"


def held_error(who: str) -> MeshwardError:
    return MeshwardError(codes.APPLIED_BY_ANOTHER, f"somebody else is applying to this cluster: {who}")
