"""revoke: refuse a subject, a token or an agent whatever the policy says; without any, list what is revoked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from meshward.apply.revoke import current_revocations, revoke
from meshward.callers.revocations import Revoked
from meshward.control.verbs.request import Asker, Controlled, Fields, Reply, Text, Verb
from meshward.kit.names import NAME

_LONGEST = 8192  # characters of a name: more than a token holds
_LATEST = 253_402_300_799  # the last second that a calendar can tell


class Revoke(Fields):
    """`agent` by the policy's name. `until`: seconds since the epoch; one that is past ends a revocation."""

    subject: Annotated[str, Field(max_length=_LONGEST)] | None = None
    token_id: Annotated[str, Field(max_length=_LONGEST)] | None = None
    agent: Annotated[str, Field(pattern=NAME)] | None = None
    until: Annotated[int, Field(ge=0, le=_LATEST)] | None = None


class ToldRevoked(Reply):
    """Who is refused, until when: seconds since the epoch, or None for ever."""

    subjects: dict[Text, int | None]
    tokens: dict[Text, int | None]
    agents: dict[Text, int | None]


def _revoke(given: Revoke, asker: Asker, instance: Controlled) -> ToldRevoked:
    mesh = instance.mesh

    def more(now: Revoked) -> Revoked:
        tables = ((now.subjects, given.subject), (now.tokens, given.token_id), (now.agents, given.agent))
        return Revoked(*(table if name is None else {**table, name: given.until} for table, name in tables))

    now = current_revocations(mesh) if _reads(given) else revoke(mesh, more, asker.author)
    return ToldRevoked(subjects=dict(now.subjects), tokens=dict(now.tokens), agents=dict(now.agents))


def _reads(given: Revoke) -> bool:
    return given.subject is None and given.token_id is None and given.agent is None


REVOKE = Verb("revoke", Revoke, TypeAdapter(ToldRevoked), _revoke, right="apply", reads=_reads)
