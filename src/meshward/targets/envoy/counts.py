"""What a running guard says of the server behind it: how many requests failed, and whether any server is healthy.

Pure: admin answers in, values out. Tried on Envoy 1.40, each fault alone: a 5xx of the model, a refused or reset
connection, invalid HTTP and silence before the answer all raise `downstream_rq_5xx` by one, once per request however
often a connection was tried again; an answer that breaks off raises `downstream_rq_tx_reset`; a client that goes
away raises neither. What the guard itself refuses (401, 403, 413, 429) never reaches the model and is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

from meshward.kit.strict import json_object
from meshward.targets.envoy.wire import UPSTREAM

_LATE = (
    f"cluster.{UPSTREAM}.upstream_rq_completed",
    f"cluster.{UPSTREAM}.upstream_rq_5xx",
)  # from the first on
_NAMES = (*_LATE, "http.guard.downstream_rq_5xx", "http.guard.downstream_rq_tx_reset")
COUNTS_PATH = f"/stats?filter=^({'|'.join(_NAMES)})$".replace(".", r"\.")
CLUSTERS_PATH = "/clusters?format=json"
_LINE = re.compile(r"(?P<name>[a-z0-9_.]+): (?P<value>.*)", re.ASCII)
_MOST = 2**64 - 1  # of a counter of Envoy's
_SERVING = ("HEALTHY", "DEGRADED", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Counts:
    """Since a guard's start, or between two moments. Each number only rises while the guard lives."""

    completed: int = 0  # answers that came from the model, or for its silence
    bad: int = 0  # of these, 5xx
    errors: int = 0  # 5xx that the guard passed on or gave itself
    broken: int = 0  # answers that ended before their end

    @property
    def requests(self) -> int:
        """That met this version, or would have if it had been there."""
        return max(self.completed - self.bad, 0) + self.errors

    @property
    def failed(self) -> int:
        return self.errors + self.broken

    def since(self, earlier: Counts) -> Counts:
        """What came after `earlier`. A number that fell began anew: the guard was restarted."""
        pairs = list(zip(astuple(self), astuple(earlier), strict=True))
        if any(now < then for now, then in pairs):
            return self
        return Counts(*(now - then for now, then in pairs))

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def read_count(text: str) -> int:
    """A counter. Raises ValueError for what is none: signs, fractions, words, more digits than one has."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 20) or int(text) > _MOST:
        raise ValueError("it counts what is no number")
    return int(text)


def read_counts(stats: str) -> Counts:
    """`stats` answers COUNTS_PATH. Raises ValueError where a number is missing."""
    lines = (m for line in stats.splitlines() if (m := _LINE.fullmatch(line)))
    found = {m["name"]: read_count(m["value"]) for m in lines if m["name"] in _NAMES}
    found = {**dict.fromkeys(_LATE, 0), **found}
    if not found.keys() >= set(_NAMES):
        raise ValueError("it does not count what it should")
    return Counts(*(found[name] for name in _NAMES))


def read_illness(clusters: str) -> str | None:
    """Why no server is healthy, from an answer to CLUSTERS_PATH; None: one is. Raises ValueError."""
    try:
        statuses = json_object(clusters.encode())["cluster_statuses"]
        servers = [host for each in statuses for host in _servers(each)]
        whys = [_why(host) for host in servers]
    except (KeyError, TypeError, AttributeError):
        raise ValueError("it says nothing of its servers") from None
    if not whys:
        return "its guard knows no server"
    if None in whys:
        return None
    sentences = ", ".join(dict.fromkeys(why for why in whys if why))
    return f"no healthy server behind its guard: {sentences}"


def _servers(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if cluster["name"] == UPSTREAM:
        yield from cluster.get("host_statuses", [])


def _why(server: dict[str, Any]) -> str | None:
    """None: it is healthy. A flag that is not there is not raised."""
    health = server.get("health_status", {})
    if health.get("failed_active_health_check"):
        return "its health check fails"
    if health.get("failed_outlier_check"):
        return "it was ejected for its errors"
    if health.get("eds_health_status", "HEALTHY") not in _SERVING:
        return "it is taken out"
    return None
