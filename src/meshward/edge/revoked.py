"""RUN/decide/revocations.json: subjects and tokens that are refused whatever the policy says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from meshward.kit.canonical import canonical_json, digest
from meshward.kit.errors import MeshwardError
from meshward.oidc.strict import json_object

FILE = "revocations.json"


@dataclass(frozen=True, slots=True)
class Revoked:
    """By name, until when: seconds since the epoch, or None for ever. Subjects as `<issuer's name>:<subject>`."""

    subjects: Mapping[str, int | None] = field(default_factory=dict)
    tokens: Mapping[str, int | None] = field(default_factory=dict)  # by `jti`

    def hits(self, subject: str, token: object, now: float) -> bool:
        """Whether `subject`, or the token with the `jti` `token`, is refused at `now`."""
        return _holds(self.subjects, subject, now) or (
            isinstance(token, str) and _holds(self.tokens, token, now)
        )

    def standing(self, now: float) -> Revoked:
        """Those that still hold at `now`."""
        kept = [
            {name: until for name, until in each.items() if until is None or now < until}
            for each in (self.subjects, self.tokens)
        ]
        return Revoked(*kept)

    @property
    def digest(self) -> str:
        return digest(asdict(self))


def _holds(entries: Mapping[str, int | None], name: str, now: float) -> bool:
    if name not in entries:
        return False
    until = entries[name]
    return until is None or now < until


def save_text(revoked: Revoked) -> str:
    return canonical_json(asdict(revoked))


def load_revoked(directory: Path) -> Revoked:
    """Nobody where there is no file. Raises MeshwardError (MW2032) for a damaged one: it may have named somebody."""
    path = directory / FILE
    try:
        revoked = Revoked(**json_object(path.read_bytes()))
    except FileNotFoundError:
        return Revoked()
    except (ValueError, TypeError):
        raise _damaged(path) from None
    if not all(_is_table(table) for table in (revoked.subjects, revoked.tokens)):
        raise _damaged(path)
    return revoked


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and all(until is None or type(until) is int for until in value.values())


def _damaged(path: Path) -> MeshwardError:
    return MeshwardError(
        "MW2032", f"`{path}` is damaged", "Restore it: without it nobody can tell who was revoked."
    )
