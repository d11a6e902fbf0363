"""Model servers that somebody else started: may their guard reach them, and who else can?"""

from __future__ import annotations

import errno
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
_MOST_LINKS = 40  # as many as the kernel follows
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
        _require_honest_way(path, door, key)
        guard = guard.joining(door.gid)
    if can_execute_as(guard, ("/usr/bin/test", "-w", str(path))):
        return guard
    raise MeshwardError(
        codes.SOCKET_NOT_FOR_GUARD,
        f"the guard of {key} (uid {guard.uid}, gid {guard.gid}) may not open `{path}`",
        "Let its group write to the socket and pass every directory above it, with a group that is not root's, e.g. "
        f"`chgrp {guard.gid} {path} && chmod 660 {path}`; then try again.",
    )


def _require_honest_way(path: Path, door: Door, key: str) -> None:
    """Who decides where the path leads may lead to their own socket alone: no guard joins a group by another's word.

    Raises MeshwardError (MW3013).
    """
    try:
        uids, gids = leaders(path)
    except OSError as error:
        raise MeshwardError(
            codes.SOCKET_NOT_FOR_GUARD, f"the guard of {key} may not open `{path}`: {error.strerror}"
        ) from None
    if (uids or gids) and door.uid not in uids and door.gid not in gids:
        who = ", ".join([*(f"uid {uid}" for uid in sorted(uids)), *(f"group {gid}" for gid in sorted(gids))])
        raise MeshwardError(
            codes.SOCKET_NOT_FOR_GUARD,
            f"the guard of {key} joins no group for `{path}`: {who} could lead it to any socket, and this one is "
            f"uid {door.uid}'s",
            "Let the server make its socket in a directory of its own, and name that path.",
        )


def leaders(path: Path) -> tuple[set[int], set[int]]:
    """The users, and the groups, but for root and us, who decide where `path` leads. Raises OSError.

    Whose a link or a directory on the way is, and who may write to a directory where that is nobody's alone.
    """
    uids, gids = set[int](), set[int]()
    here, left, links = Path("/"), list(path.absolute().parts[1:]), 0
    while left:
        each, about = here / left[0], (here / left[0]).lstat()
        if stat.S_ISLNK(about.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = each.readlink()
            here, left = Path("/") if target.is_absolute() else here, [*target.parts, *left[1:]]
            left = [part for part in left if part != "/"]
            uids.add(about.st_uid)
            continue
        if left := left[1:]:
            uids.add(about.st_uid)
            if about.st_mode & stat.S_IWGRP and not about.st_mode & stat.S_ISVTX:
                gids.add(about.st_gid)
        here = each if each.name != ".." else here.parent
    return uids - {0, os.geteuid()}, gids - {0}


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
