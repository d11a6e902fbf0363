"""What a running instance says about itself in STATE/instance.json, for `status`, `trace` and the tour."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from meshward.kit.durable import write_atomic
from meshward.kit.errors import Exit, MeshwardError

FILE = "instance.json"


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
        write_atomic(state / FILE, json.dumps(asdict(self), indent=1))


def load_instance(state: Path) -> Instance:
    """The instance that `state` belongs to. Raises MeshwardError where nothing was ever started."""
    try:
        value = json.loads((state / FILE).read_text())
    except FileNotFoundError:
        raise nothing_runs(state) from None
    guards = tuple(Guarded(**guard) for guard in value.pop("guards"))
    return Instance(guards=guards, **value)


def nothing_runs(state: Path) -> MeshwardError:
    return MeshwardError(
        "MW3001",
        f"nothing runs in `{state}`",
        "Start it with `meshward up POLICY` (or `make demo`), or name another directory with --state.",
        exit_code=Exit.USAGE,
    )
