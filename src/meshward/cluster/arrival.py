"""What a cluster itself can say of whether an object has arrived where it is enforced. Pure.

Controllers of the Gateway API write what became of an object into it. Istio's own objects have no such thing for
sidecars: the API server has taken them, and who enforces them is not asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from meshward.cluster.connection import Object
from meshward.cluster.manifest import key_of
from meshward.kit.text import one_line

_GATEWAY_API = "gateway.networking.k8s.io"
_YES = ("Accepted", "Programmed", "ResolvedRefs")


class Arrival(Enum):
    """What is known."""

    ACCEPTED = "accepted by its controller"
    REFUSED = "refused by its controller"
    UNSAID = "taken by the API server; its controller has said nothing"
    UNASKED = "taken by the API server; proxies are not asked"


def arrival(live: Object) -> Arrival:
    if key_of(live).group != _GATEWAY_API:
        return Arrival.UNASKED
    said = list(_conditions(live))
    if any(each.get("status") == "False" for each in said):
        return Arrival.REFUSED
    return Arrival.ACCEPTED if said else Arrival.UNSAID


def describe_arrivals(objects: Iterable[Object]) -> list[str]:
    """For people: one line per kind and what is known; what was refused, by name and sentence."""
    found = list(objects)
    counted = Counter((str(each["kind"]), arrival(each)) for each in found)
    lines = [
        f"{number} {kind}: {said.value}"
        for (kind, said), number in sorted(counted.items(), key=lambda each: (each[0][0], each[0][1].name))
    ]
    refused = (each for each in found if arrival(each) is Arrival.REFUSED)
    return [*lines, *(f"! {key_of(each)}: {_sentence(each)}" for each in refused)]


def _sentence(live: Object) -> str:
    said = (one_line(str(each.get("message"))) for each in _conditions(live) if each.get("status") == "False")
    return "; ".join(dict.fromkeys(said))


def _conditions(live: Object) -> Iterator[dict[str, Any]]:
    """Those that speak of what the object says now."""
    status, generation = live.get("status") or {}, live["metadata"].get("generation", 0)
    for holder in (status, *(status.get("parents") or ())):
        for each in holder.get("conditions") or ():
            if each.get("type") in _YES and each.get("observedGeneration", 0) >= generation:
                yield each
