"""What the instance answers, over the socket as over HTTPS: a verb's reply, or why it was refused.

`{"done": {...}}` or `{"failed": {...}}`. Whoever serves encodes it once, whoever asks decodes it once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from meshward.control.verbs.request import Reply, Text, Verb
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem, Where
from meshward.kit.exits import Exit

_R = TypeVar("_R", bound=Reply)


class ToldPlace(BaseModel):
    """In a file that a person wrote."""

    model_config = ConfigDict(frozen=True, strict=True)

    file: Text
    line: int
    column: int


class ToldProblem(BaseModel):
    """One problem of a policy."""

    model_config = ConfigDict(frozen=True, strict=True)

    code: str
    severity: str
    message: Text
    remedy: Text
    where: ToldPlace | None = None

    @classmethod
    def of(cls, problem: Problem) -> ToldProblem:
        at = problem.where
        return cls(
            code=problem.code.number,
            severity=problem.severity,
            message=problem.message,
            remedy=problem.remedy,
            where=ToldPlace(file=at.file, line=at.line, column=at.column) if at else None,
        )

    def problem(self) -> Problem:
        where = Where(self.where.file, self.where.line, self.where.column) if self.where else None
        message = _message(self.code, self.message)
        return Problem(codes.decode(self.code), message, self.remedy, where, self.severity)


class ToldRefusal(BaseModel):
    """A MeshwardError on its way from the instance to whoever asked. `problems` are those of a policy."""

    model_config = ConfigDict(frozen=True, strict=True)

    code: str
    message: Text
    remedy: Text
    exit: Exit
    problems: tuple[ToldProblem, ...] = ()

    @classmethod
    def of(cls, error: MeshwardError) -> ToldRefusal:
        problems = error.problems if isinstance(error, PolicyInvalid) else []
        return cls(
            code=error.code.number,
            message=error.message,
            remedy=error.remedy,
            exit=error.exit_code,
            problems=tuple(map(ToldProblem.of, problems)),
        )

    def error(self) -> MeshwardError:
        """As whoever asked raises it. A code that this version does not know is named in the message."""
        if self.problems:
            return PolicyInvalid([each.problem() for each in self.problems], self.exit)
        message = _message(self.code, self.message)
        return MeshwardError(codes.decode(self.code), message, self.remedy, exit_code=self.exit)


def encode(answer: Reply | ToldRefusal) -> dict[str, Any]:
    """As JSON has it."""
    if isinstance(answer, ToldRefusal):
        return {"failed": answer.model_dump(mode="json")}
    return {"done": answer.as_json()}


def decode(verb: Verb[Any, _R], said: Mapping[str, Any]) -> _R:
    """What `verb` came to. Raises MeshwardError: what was refused; or MW3029 for what is no answer to it."""
    try:
        if "failed" in said:
            raise ToldRefusal.model_validate_json(json.dumps(said["failed"])).error()
        return verb.reply.validate_json(json.dumps(said.get("done")))
    except ValidationError as error:
        raise MeshwardError(
            codes.INSTANCE_SILENT,
            f"the instance answered `{verb.name}` with what this version does not know: "
            f"{error.error_count()} fields are wrong",
            "Ask with the version of meshward that runs there.",
            exit_code=Exit.FAULT,
        ) from None


def _message(code: str, message: str) -> str:
    return f"{message} ({code})" if codes.decode(code) is codes.UNKNOWN_CODE else message
