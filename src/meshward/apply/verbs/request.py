"""What a verb is given: the fields that were asked for, by whom, and from where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from meshward.apply.mesh import Mesh


class Fields(BaseModel):
    """Of a request, beside `do`. Unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Asker:
    """`author` is whom the kernel names, or a verified token. `here`: on this machine, as the instance's own user."""

    author: str
    say: Callable[[str], None]
    here: bool = True


@dataclass(frozen=True, slots=True)
class Verb:
    """`right` is the operator's right that it takes; None: any of them."""

    fields: type[Fields]
    do: Callable[[Any, Asker, Mesh], dict[str, Any]]
    right: str | None
