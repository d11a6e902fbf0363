"""What a change opens by what it takes away, whatever the policies say: guards that go. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from meshward.cluster.connection import Object
from meshward.cluster.guards import is_guard, narrowed
from meshward.cluster.manifest import Key, is_for_all, key_of, stand_in_name
from meshward.cluster.permissions import is_allow

Objects = Mapping[Key, Object]
_WHO_WRITES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
_FILTERS = ("EnvoyFilter", "WasmPlugin")


def opened_by_removal(live: Objects, wanted: Objects, root_namespace: str) -> tuple[str, ...]:
    """What goes that kept others out, of pods that may stay where they are: a sentence each.

    Not where one that stays keeps them out all the same, nor what stood in for a name that stays. Not filters: exact
    paths hold without.
    """
    staying = [body for body in wanted.values() if _keeps_out(body) and is_for_all(body)]
    kept = {key._replace(name=stand_in_name(key.name)) for key in wanted}
    return tuple(
        f"{key} goes, and with it what it refused"
        for key, body in sorted(live.items())
        if key not in wanted
        and key not in kept
        and (key.kind in _WHO_WRITES or _keeps_out(body))
        and not any(_does_as_much(each, body, root_namespace) for each in staying)
    )


def _does_as_much(one: Object, other: Object, root_namespace: str) -> bool:
    """Whether `one`, which is for all, keeps out whom `other` does."""
    if one["kind"] != other["kind"] or is_allow(one) != is_allow(other):
        return False
    return key_of(one).namespace in (key_of(other).namespace, root_namespace) and (
        is_allow(one) or one["kind"] == "PeerAuthentication"
    )


def _keeps_out(body: Object) -> bool:
    return is_guard(body) and narrowed(body, None) is not None and body["kind"] not in _FILTERS
