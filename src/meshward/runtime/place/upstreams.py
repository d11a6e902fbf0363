"""Model servers that somebody else started: may their guard reach them, and who else can?"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.hop_socket import Asking, Listener, NoAnswer
from meshward.plan.ir import Plan, Version
from meshward.policy.servers import GENERATED
from meshward.policy.urls import ServerUrl, UnixSocket, Url, crosses_in_clear
from meshward.runtime.place.identities import ProcessIdentity, can_execute_as

_WRITE_ALL = stat.S_IWOTH
_WRITE_GROUP = stat.S_IWGRP
_ASK = 1.0  # seconds for one server
_REFUSED, _ABSENT = {401, 403}, {404, 405}
WORST = ("sealed", "socket", "key", "open")  # last
_STRANGER = ProcessIdentity(65534, 65534)  # nobody: a user who has nothing to do with a server
_ACL = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class Door:
    """A unix socket's owner, group and mode: connecting takes the right to write."""

    uid: int
    gid: int
    mode: int


def admit_guard(plan: Plan, key: str, guard: ProcessIdentity, ours: bool) -> ProcessIdentity:
    """The guard's identity, with the groups that open its servers' sockets. `ours`: we start the first of them.

    Raises MeshwardError (MW3013) where no group could open one: a guard never borrows a server's uid.
    """
    version = plan.version(*key.split("/"))
    for url in version.replicas if ours else version.urls:
        guard = _admit_to(url, key, guard)
    return guard


def require_strangers(plan: Plan, key: str, servers: Path, *ours: Path) -> None:
    """Raises MeshwardError (MW3013) for a server that is a socket of ours: below `ours`, and not below `servers`.

    Through a guard's admin socket its clients would stop it and read its configuration.
    """
    for url in plan.version(*key.split("/")).urls:
        path = Path(url.path).resolve() if isinstance(url, UnixSocket) else None
        if path is None or path.is_relative_to(servers.resolve()):
            continue
        if any(path.is_relative_to(each.resolve()) for each in ours):
            raise MeshwardError(
                codes.SOCKET_NOT_FOR_GUARD,
                f"the guard of {key} may not open `{path}`: it is meshward's own, and no model server's",
                "Let the server make its socket elsewhere.",
            )


def _admit_to(url: ServerUrl, key: str, guard: ProcessIdentity) -> ProcessIdentity:
    if not isinstance(url, UnixSocket) or guard.uid == os.geteuid():
        return guard
    path = Path(url.path)
    door = _door(path)
    if door is None:  # it may come later; then its group is not known now
        return guard
    if door.mode & _WRITE_GROUP and door.gid != 0 and door.gid not in (guard.gid, *guard.groups):
        guard = guard.joining(door.gid)
    if can_execute_as(guard, ("/usr/bin/test", "-w", str(path))):
        return guard
    raise MeshwardError(
        codes.SOCKET_NOT_FOR_GUARD,
        f"the guard of {key} (uid {guard.uid}, gid {guard.gid}) may not open `{path}`",
        "Let its group write to the socket and pass every directory above it, with a group that is not root's, e.g. "
        f"`chgrp {guard.gid} {path} && chmod 660 {path}`; then try again.",
    )


@dataclass(frozen=True, slots=True)
class Reach:
    """Who gets to a version's servers past its guard, as `how` of the one that is easiest to reach, `url`.

    `openers`: who may open it, where it is a socket that somebody else made.
    """

    how: str
    url: ServerUrl
    openers: str = ""


def reach_of(plan: Plan, key: str, ours: bool, sealed: bool) -> Reach:
    """Of all servers of `key` the worst. Asks those that are to demand a generated key whether they do."""
    model, name = key.split("/")
    version = plan.version(model, name)
    kept = plan.secret_of(model, name)
    found = [reach(url, ours and url == version.url) for url in version.urls]
    if sealed:
        found[0] = Reach("sealed", version.url)
    if kept is not None and kept.source == GENERATED:
        found = [_with_key(each, version) for each in found]
    return max(found, key=lambda each: WORST.index(each.how))


def reach(url: ServerUrl, ours: bool) -> Reach:
    """`socket` where file modes keep others out, else `open`: whoever can connect gets past the guard."""
    if not isinstance(url, UnixSocket):
        return Reach("open", url)
    if ours:
        return Reach("socket", url)
    path = Path(url.path)
    door = _door(path)
    if door is None or door.mode & _WRITE_ALL or _has_acl(path) or _opens_to_strangers(path):
        return Reach("open", url)
    return Reach("socket", url, f"root, uid {door.uid} and group {door.gid}")


def _has_acl(path: Path) -> bool:
    """Then its mode does not say who may open it."""
    try:
        return bool(os.getxattr(path, _ACL))
    except OSError:
        return False


def _opens_to_strangers(path: Path) -> bool:
    return os.geteuid() == 0 and can_execute_as(_STRANGER, ("/usr/bin/test", "-w", str(path)))


def _with_key(found: Reach, version: Version) -> Reach:
    """On a network a key would be there for all to read."""
    if found.how != "open" or crosses_in_clear(found.url) or not demands_key(found.url, version):
        return found
    return replace(found, how="key")


def demands_key(url: ServerUrl, version: Version) -> bool:
    """Whether the server refuses (401, 403) a request without a key, on each of its `infer` routes that it has.

    That it does so today on these routes is all that can be seen. One that does not answer has not refused.
    """
    routes = [route for route, action in version.routes.items() if action == "infer"]
    asking, below = Asking(_listener(url), _ASK), url.path.rstrip("/") if isinstance(url, Url) else ""
    statuses = set()
    try:
        for route in routes:
            statuses.add(asking.status(route.method, f"{below}{route.path}"))
    except NoAnswer:
        return False
    return bool(statuses & _REFUSED) and statuses <= _REFUSED | _ABSENT


def _listener(url: ServerUrl) -> Listener:
    """Whose it is nobody knows: others started it."""
    if isinstance(url, UnixSocket):
        return Listener(Path(url.path))
    tls = url.scheme == "https"
    return Listener(host=url.host, port=url.port or (443 if tls else 80), tls=tls)


def _door(path: Path) -> Door | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return Door(found.st_uid, found.st_gid, found.st_mode) if stat.S_ISSOCK(found.st_mode) else None
