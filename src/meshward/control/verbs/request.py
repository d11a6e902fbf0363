"""What a verb is given (the fields that were asked for, by whom, from where, and what it may change), and its reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from meshward.apply.mesh import Mesh
from meshward.apply.traffic.traffic import Traffic
from meshward.kit.canonical import canonical_json
from meshward.kit.secret import holds_token


def _require_no_token(text: str) -> str:
    if holds_token(text):
        raise ValueError("it holds a token; whoever reads it could use that")
    return text


Reason = Annotated[str, Field(max_length=1000), AfterValidator(_require_no_token)]
"""Why, in a person's words: it is kept with every revision for ever, and in logs."""


MOST_MET = 10_000


def _utf8(text: object) -> object:
    """What UTF-8 cannot say (half a surrogate pair of a file's name, or of a line in the records) becomes `?`."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(_utf8)]
"""What others wrote, as a reply tells it."""


class Fields(BaseModel):
    """Of a request, beside `do`. Unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def facts(self) -> dict[str, str]:
        """What the audit says was asked. Never a field with `repr=False`, as a policy's text has."""
        shown = [name for name, field in type(self).model_fields.items() if field.repr]
        given = {name: getattr(self, name) for name in shown}
        return {
            n: _text(value)
            for n, value in given.items()
            if value not in (None, "", [], {}) and value is not False
        }


class Reply(BaseModel):
    """What a verb came to. A field that was not set is not told; one that is not known here is not read."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_unset=True)


def _text(value: object) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _allow_anyone(_: str | None) -> None:
    """On this machine, as the instance's own user."""


@dataclass(frozen=True, slots=True)
class Asker:
    """`author` is whom the kernel names, or a verified token. `here`: on this machine, as the instance's own user.

    `may` raises MeshwardError where they have not the operator's right that it is given, as of now. `facts` are what
    the audit says of how they came.
    """

    author: str
    say: Callable[[str], None]
    here: bool = True
    may: Callable[[str | None], None] = _allow_anyone
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Controlled:
    """The running instance, as far as it can be asked to change.

    `met` are those who asked from afar with a good token since it started: no record of a request tells of them.
    """

    mesh: Mesh
    traffic: Traffic
    met: set[str] = field(default_factory=set)

    def meet(self, name: str) -> None:
        if len(self.met) < MOST_MET:
            self.met.add(name)


F = TypeVar("F", bound=Fields)
R = TypeVar("R", bound=Reply)


@dataclass(frozen=True, slots=True)
class Verb(Generic[F, R]):
    """`right` is the operator's right that it takes; None: any of them. `reads`: whether it changes nothing."""

    name: str
    fields: type[F]
    reply: TypeAdapter[R]
    do: Callable[[F, Asker, Controlled], R]
    right: str | None
    reads: Callable[[F], bool] = lambda _: False
