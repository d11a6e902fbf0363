"""What a running instance says about itself in STATE/instance.json, for `status`, `trace` and the tour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile


@dataclass(frozen=True, slots=True)
class Guarded:
    """One model version and how its server can be reached: `socket`, `sealed`, `key`, or `open` (by others too).

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


@dataclass(frozen=True, slots=True)
class Instance:
    edge_url: str
    root_certificate: str
    run: str
    trust_domain: str
    revision: int
    guards: tuple[Guarded, ...]
    idp_url: str | None  # the demo's identity provider

    def save(self, state: Path) -> None:
        INSTANCE.write(state, self)


INSTANCE = StateFile(
    "instance.json",
    Instance,
    place="STATE",
    what="what clients and other commands need of the running instance",
    remedy="Start the instance again, `meshward up`: it is written anew.",
    renewed=True,
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
