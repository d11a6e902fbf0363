"""What an API server refused, and what to say of it: who owns what, which right is missing, which field is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.text import one_line

_LONGEST = 2000  # characters of a server's sentence
_MANAGER = re.compile(r'conflict with "([^"]*)"')
_RIGHT = re.compile(r'User "[^"]*" cannot ')
"""What every authorizer says. Quotas, namespaces that end and admission refuse with 403 as well."""
_UNDECLARED = re.compile(r"failed to create typed patch object .*?: (.*?): field not declared in schema")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A Kubernetes `Status`. `causes`: (field, sentence)."""

    status: int
    reason: str
    message: str
    causes: tuple[tuple[str, str], ...] = ()

    @property
    def conflicts(self) -> tuple[tuple[str, str], ...]:
        """Who else owns which field: (manager, field), of a server-side apply."""
        found = ((_MANAGER.search(said), where) for where, said in self.causes)
        return tuple((match[1], where) for match, where in found if match)


class Refused(Exception):
    """The API server answered, and refused. Nothing was done."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def read_refusal(status: int, answer: Any, data: bytes = b"") -> Refusal:
    """From the answer's JSON, or its bytes where it is no `Status`."""
    if not isinstance(answer, dict):
        return Refusal(status, "", one_line(data[:200].decode(errors="replace")))
    details = answer.get("details") or {}
    causes = tuple(
        (str(each.get("field") or ""), one_line(str(each.get("message") or "")))
        for each in details.get("causes") or ()
        if isinstance(each, dict)
    )
    message = one_line(str(answer.get("message") or ""))[:_LONGEST]
    return Refusal(status, str(answer.get("reason") or ""), message, causes)


def refused_error(refusal: Refusal, what: str, server: str) -> MeshwardError:
    """What to say of `refusal`; `what` names the object, or what was asked for."""
    message = refusal.message
    if refusal.status == 401:
        return MeshwardError(
            codes.CLUSTER_CREDENTIALS, f"the API server `{server}` does not know the kubeconfig's user"
        )
    if refusal.status == 403 and _RIGHT.search(message):
        return MeshwardError(codes.CLUSTER_RIGHT_MISSING, f"{what}: {message}")
    if refusal.status == 409:
        return _conflict_error(refusal, what)
    if refusal.status == 404:
        return MeshwardError(codes.CLUSTER_LACKS, f"{what}: {message or 'there is no such thing'}")
    fields = "; ".join(f"`{where}`: {said}" for where, said in refusal.causes if where)
    if found := _UNDECLARED.search(message):
        fields = f"`{found[1].lstrip('.')}`: no such field"
    return MeshwardError(codes.CLUSTER_REFUSED, f"{what}: {fields or message or f'status {refusal.status}'}")


def _conflict_error(refusal: Refusal, what: str) -> MeshwardError:
    owners = "; ".join(f"`{manager}` owns `{field}`" for manager, field in refusal.conflicts)
    return MeshwardError(codes.FIELD_OWNED_BY_ANOTHER, f"{what}: {owners or refusal.message}")
