"""What an issuer's tokens look like: one declarative file per kind of provider beside this module.

typ       accepted JOSE `typ` values, lower case, without `application/`; null: none given
audience  the claim that must name us, or null where the provider has none and `client` decides
client    claims that may name the client, the first that is present counts
subject   the claim with the stable id
groups    JSON pointer to the groups, unless the policy gives another
require   claims that must have one of these values
forbid    claims of tokens that are not for access (a logout token's `events`)
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from meshward.kit.errors import MeshwardError
from meshward.kit.names import is_name

ClaimName = Annotated[str, Field(min_length=1)]


class Profile(BaseModel):
    """One kind of provider. Files are ours, so a bad one is a bug, not a user's error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    typ: frozenset[str | None]
    audience: ClaimName | None
    client: tuple[ClaimName, ...]
    subject: ClaimName
    groups: ClaimName
    require: dict[ClaimName, tuple[str | int | bool, ...]]
    forbid: tuple[ClaimName, ...]


@cache
def load_profile(name: str) -> Profile:
    """The profile called `name`. Raises MeshwardError (MW2001) if this version has none of that name."""
    file = files(__package__).joinpath(f"{name}.json")
    if not is_name(name) or not file.is_file():
        raise MeshwardError(
            "MW2001",
            f"tokens of the issuer profile `{name}` cannot be verified yet",
            "Use `profile: oidc` with `issuer`, `audience` and `groups`.",
        )
    return Profile.model_validate_json(file.read_bytes())
