"""Subjects, tokens and agents that are refused whatever the policy says.

RUN/given/decide/revocations.json is what the decision service refuses by. RUN/given/edge/revoked is what nginx ends
running answers by: no names, only the ties that a decision gave an answer (`ties`), so that it need not parse anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from meshward.decide.types import Identity
from meshward.kit import codes
from meshward.kit.canonical import canonical_json, digest
from meshward.kit.statefile import StateFile

FILE = "revocations.json"
EDGE_FILE = "revoked"
_LATEST = 10**10 - 1  # the last second that ten digits can tell


@dataclass(frozen=True, slots=True)
class Revoked:
    """By name, until when: seconds since the epoch, or None for ever. Subjects as `<issuer's name>:<subject>`."""

    subjects: Mapping[str, int | None] = field(default_factory=dict)
    tokens: Mapping[str, int | None] = field(default_factory=dict)  # by `jti`
    agents: Mapping[str, int | None] = field(default_factory=dict)  # by the policy's name

    def hits(self, identity: Identity, token: object, now: float) -> bool:
        """Whether `identity`, an agent that acts for it, or the token with the `jti` `token` is refused at `now`."""
        tables = {"s": self.subjects, "t": self.tokens, "a": self.agents}
        return any(_holds(tables[kind], name, now) for kind, name in _names(identity, token))

    def joined(self, other: Revoked) -> Revoked:
        """Whoever is refused by one of them, until the later end."""
        pairs = ((self.subjects, other.subjects), (self.tokens, other.tokens), (self.agents, other.agents))
        return Revoked(*(_joined(*pair) for pair in pairs))

    def standing(self, now: float) -> Revoked:
        """Those that still hold at `now`."""
        kept = [
            {name: until for name, until in each.items() if until is None or now < until}
            for each in (self.subjects, self.tokens, self.agents)
        ]
        return Revoked(*kept)

    @property
    def digest(self) -> str:
        return digest(asdict(self))


REFUSED = StateFile(
    FILE,
    Revoked,
    place="RUN/given/decide",
    what="which subjects, tokens and agents are refused, until when",
    remedy="Start the instance again, `meshward up`: it is written anew.",
    code=codes.REVOCATIONS_DAMAGED,
    limit=64_000_000,
    may_lack=frozenset({"agents"}),  # before they could be revoked
)


def ties(identity: Identity, token: object) -> list[str]:
    """By what an answer to `identity`, given for the token with the `jti` `token`, can be ended: 32 hex digits each."""
    return [_tie(kind, name) for kind, name in _names(identity, token)]


def edge_text(revoked: Revoked) -> str:
    """RUN/given/edge/revoked: lines of one length, `<tie> <until, or 0 for ever>`, and `end`: cut off is damaged."""
    tables = {"s": revoked.subjects, "t": revoked.tokens, "a": revoked.agents}
    lines = [
        f"{_tie(kind, name)} {0 if until is None else min(max(until, 1), _LATEST):010d}\n"
        for kind, table in tables.items()
        for name, until in table.items()
    ]
    return "".join([*sorted(lines), "end\n"])


def save_text(revoked: Revoked) -> str:
    """RUN/given/decide/revocations.json."""
    return REFUSED.encode(revoked).decode()


def load_revoked(directory: Path) -> Revoked:
    """Raises MeshwardError (MW2032) where the file is damaged or gone: it is always written, and may name somebody."""
    revoked = REFUSED.read(directory)
    if revoked is None:
        raise REFUSED.damage_error(directory / FILE, "it is gone")
    return revoked


def token_name(jti: object) -> str | None:
    """By what a token with the claim `jti` is revoked: its text; of what is no text, as some issuers write, its JSON.

    None: the token has none.
    """
    if jti is None or isinstance(jti, str):
        return jti or None
    if isinstance(jti, float) and jti.is_integer():
        jti = int(jti)
    return canonical_json(jti)


def token_names(spelled: str) -> frozenset[str]:
    """By what a token is revoked whose `jti` was copied from its JSON as `spelled`: `12.0` is 12, `"a"` is a."""
    try:
        read = token_name(json.loads(spelled))
        (read or "").encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        read = None
    return frozenset([spelled] if read is None else [spelled, read])


def _names(identity: Identity, token: object) -> Iterator[tuple[str, str]]:
    """Whom a request comes from, by kind: its subject, its token, and each agent of the chain."""
    yield "s", identity.name
    if (number := token_name(token)) is not None:
        yield "t", number
    yield from (("a", actor) for actor in identity.actors)


def _joined(one: Mapping[str, int | None], other: Mapping[str, int | None]) -> dict[str, int | None]:
    both = {name: later(one[name], other[name]) for name in one.keys() & other.keys()}
    return {**one, **other, **both}


def later(one: int | None, other: int | None) -> int | None:
    """The later of two ends, of which None is none."""
    return None if one is None or other is None else max(one, other)


def _tie(kind: str, name: str) -> str:
    return hashlib.sha256(f"{kind}:{name}".encode()).hexdigest()[:32]


def _holds(entries: Mapping[str, int | None], name: str, now: float) -> bool:
    if name not in entries:
        return False
    until = entries[name]
    return until is None or now < until
