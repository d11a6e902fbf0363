"""RUN/decide/live.json: what the decision service knows of the running instance beside the policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from meshward.kit.canonical import canonical_json
from meshward.kit.errors import MeshwardError
from meshward.kit.strict import json_object

_SLOT = re.compile(r"[0-9]{2}", re.ASCII)
_ORIGIN = re.compile(r"https://[a-z0-9.:\[\]-]{1,261}", re.ASCII)
_DIGEST = re.compile(r"([0-9a-f]{64})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class InstanceView:
    """Written by the runtime with `save_text`, read by the service with `load_text`."""

    revision: int
    audience: str  # the trust domain: whom Transaction Tokens are for
    origin: str  # what clients see: https://host or https://host:port
    slots: Mapping[str, str]  # "<model>/<version>" -> the slot of its guard, "00" to "63"
    policy: str  # the digest that policy.json must have; empty: any
    until: str  # between two revisions: the digest of next.json, under which a permit must hold too
    ejected: tuple[str, ...] = ()  # "<model>/<version>" that get nothing while another version can answer

    def slot(self, model: str, version: str) -> str | None:
        return self.slots.get(f"{model}/{version}")


def save_text(live: InstanceView) -> str:
    return canonical_json(asdict(live))


def load_text(text: str) -> InstanceView:
    """Raises MeshwardError (MW2030) for anything that `save_text` would not write."""
    try:
        found = json_object(text.encode())
        live = InstanceView(**{**found, "ejected": _texts(found["ejected"])})
    except (ValueError, TypeError, KeyError):
        raise _broken("it is not an object of what it must hold") from None
    if type(live.revision) is not int or live.revision < 0:
        raise _broken("`revision` is not a number")
    if not isinstance(live.audience, str) or not live.audience:
        raise _broken("`audience` is not a name")
    if not isinstance(live.origin, str) or not _ORIGIN.fullmatch(live.origin):
        raise _broken("`origin` is not https://host[:port]")
    if not isinstance(live.slots, dict) or not all(_is_slot(slot) for slot in live.slots.values()):
        raise _broken("`slots` holds something else than slots")
    if not all(isinstance(each, str) and _DIGEST.fullmatch(each) for each in (live.policy, live.until)):
        raise _broken("`policy` or `until` is no digest")
    return live


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError("not a list of texts")
    return tuple(value)


def _is_slot(value: object) -> bool:
    return isinstance(value, str) and _SLOT.fullmatch(value) is not None


def _broken(why: str) -> MeshwardError:
    return MeshwardError("MW2030", f"live.json cannot be used: {why}", "The runtime writes it; apply again.")
