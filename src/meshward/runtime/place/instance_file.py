"""What a running instance says about itself in STATE/instance.json, for `status`, `trace` and the tour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile, unchanged


@dataclass(frozen=True, slots=True)
class Guarded:
    """One model version and how its server can be reached past its guard.

    `reach`: `sealed`, `socket`, `key`; `user` where one of these holds for other users alone, because guard and server
    run as `uid` with all that is ours; `root` where that is root; `open` where others can reach it too.
    `means` is the first of these words whoever the parts are. `openers`: who may open a socket that is not ours.
    `weakest`: of several servers the one whose reach that is.
    """

    model: str
    version: str
    slot: str
    dns_name: str
    socket: str
    url: str
    reach: str
    weakest: str = ""
    means: str = ""
    openers: str = ""
    uid: int | None = None

    @property
    def sentence(self) -> str:
        """For people: what stands behind `server`."""
        socket = f"on a unix socket that {self.openers or 'its guard alone'} may open"
        if self.reach == "root":
            text = "AS ROOT: nothing isolates it from this machine, nor this machine's root processes from it"
        elif self.reach == "user":
            how = socket if self.openers else f"kept from other users {_HOW[self.means]}"
            text = (
                f"{how}; any process of uid {self.uid}, as which all parts run, can reach it past its guard"
            )
        else:
            text = socket if self.reach == "socket" else _SENTENCES.get(self.reach, self.reach)
        return text + (f" (as {self.weakest})" if self.weakest else "")


_HOW = {"socket": "on a unix socket", "sealed": "in a namespace of its own", "key": "by a generated key"}
_SENTENCES = {
    "sealed": "in a namespace of its own, with its guard as the only door",
    "key": "by a key that only its guard sends",
    "open": "OPEN: others can reach it past its guard",
}


@dataclass(frozen=True, slots=True)
class Instance:
    edge_url: str
    root_certificate: str
    run: str
    trust_domain: str
    revision: int
    guards: tuple[Guarded, ...]
    idp_url: str | None  # the demo's identity provider
    elsewhere: Mapping[str, str] = field(
        default_factory=dict
    )  # `<model>/<version>` -> where it is, for people

    def save(self, state: Path) -> None:
        INSTANCE.write(state, self)


INSTANCE = StateFile(
    "instance.json",
    Instance,
    place="STATE",
    what="what clients and other commands need of the running instance",
    remedy="Start the instance again, `meshward up`: it is written anew.",
    renewed=True,
    may_lack=frozenset({"elsewhere"}),
    migrations=(unchanged, unchanged),
)


def load_instance(state: Path) -> Instance:
    """The instance that `state` belongs to. Raises MeshwardError where nothing was ever started, or it is damaged."""
    instance = INSTANCE.read(state)
    if instance is None:
        raise nothing_runs_error(state)
    return instance


def nothing_runs_error(state: Path) -> MeshwardError:
    return MeshwardError(
        codes.NOTHING_RUNS,
        f"nothing runs in `{state}`",
    )
