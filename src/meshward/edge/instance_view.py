"""RUN/given/decide/live.json: what the decision service knows of the running instance beside the policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from meshward.kit import codes
from meshward.kit.statefile import StateFile
from meshward.targets.nginx.wire import Place, Slot, read_place

_Slot = Annotated[str, StringConstraints(pattern=r"^[0-9]{2}$")]
_Elsewhere = Annotated[str, AfterValidator(lambda word: str(read_place(word)))]
_Origin = Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9.:\[\]-]{1,261}$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]


@dataclass(frozen=True, slots=True)
class InstanceView:
    """Written by an apply with `save_text`, read by the service with `load_text`."""

    revision: Annotated[int, Field(ge=0)]
    audience: Annotated[str, Field(min_length=1)]  # the trust domain: whom Transaction Tokens are for
    origin: _Origin  # what clients see: https://host or https://host:port
    slots: Mapping[str, _Slot]  # "<model>/<version>" -> the slot of its guard, "00" to "63"
    policy: _Digest  # the digest that policy.json must have; empty: any
    until: _Digest  # between two revisions: the digest of next.json, under which a permit must hold too
    ejected: tuple[str, ...] = ()  # "<model>/<version>" that get nothing while another version can answer
    # "<model>/<version>" -> where it is (`wire.read_place`), of those that have no slot
    elsewhere: Mapping[str, _Elsewhere] = field(default_factory=dict)
    site: str = ""  # `policy.site.site_to_json` of what names things here; empty: the policy alone does

    def place(self, model: str, version: str) -> Place | None:
        """Where the version answers; None: nowhere here."""
        key = f"{model}/{version}"
        if (word := self.elsewhere.get(key)) is not None:
            return read_place(word)
        slot = self.slots.get(key)
        return None if slot is None else Slot(slot)


VIEW = StateFile(
    "live.json",
    InstanceView,
    place="RUN/given/decide",
    what="what the decision service knows of the instance beside the policy",
    remedy="Apply the policy again: it is written anew.",
    code=codes.LIVE_FILE_UNUSABLE,
)


def save_text(live: InstanceView) -> str:
    return VIEW.encode(live).decode()


def load_text(text: str) -> InstanceView:
    """Raises MeshwardError (MW2030) for anything that `save_text` would not write."""
    return VIEW.decode(text.encode(), Path(VIEW.name))
