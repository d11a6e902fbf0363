"""One object of Kubernetes, and why it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Resource:
    """`body` is the whole object. `comment`: fixed sentences of ours. `file`: where people read it, from the top."""

    kind: str
    namespace: str | None  # None: of the whole cluster
    name: str
    body: Mapping[str, Any]
    comment: str
    file: str

    @property
    def api_version(self) -> str:
        return str(self.body["apiVersion"])
