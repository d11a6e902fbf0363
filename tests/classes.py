"""What types mention: for tests over the whole format."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel


def classes_in(hint: Any) -> Iterator[type[BaseModel]]:
    """Every mapping of the format that a type mentions."""
    hint = getattr(hint, "__value__", hint)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint
    for argument in typing.get_args(hint):
        yield from classes_in(argument)
