"""What an issuer's tokens look like: one declarative file per kind of provider beside this module.

source, notes     where it is documented, as of when, and what is easily taken for something else
kind              what its tokens are: for access, about a login (`id`), or of a workload
typ               accepted JOSE `typ` values, lower case, without `application/`; null: none given
algorithms        with which it signs
audience          the claim that says for whom a token is: `aud` names one of the policy's `audience`;
                  any other is a client's id and names one of the policy's `clients`
shared_audiences  what `aud` holds in every token of such an issuer: proves nothing unless `clients` are named too
client            claims that may name the client, the first that is present counts
client_required   whether a token without a client is of another kind
require           claims that must have one of these values
present           claims that must be there, whatever they say
forbid            claims of tokens that are of another kind (a logout token's `events`)
subject           the stable id, as a text with claims in braces; see `SubjectForm`
scopes            the claim with the scopes, and whether it is a list or one text
groups            JSON pointer to the groups, unless the policy gives another; null: it has none
overage           claims that say that the groups were left out
max_lifetime      seconds from `iat` to `exp`, at most
misnamed          issuers that are easily taken for the trusted one (`{host}` and `{first}` are its host and the
                  first segment of its path), each with the sentence for tokens of theirs
sentences         what to say in place of the usual sentence, by the claim that is wrong
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.names import is_name

ClaimName = Annotated[str, Field(min_length=1)]
LONGEST_LIFE = 86400  # seconds that any token may live


class _Data(BaseModel):
    """Files are ours, so a bad one is a bug, not a user's error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SubjectForm(_Data):
    """`text` with each `{claim}` filled in; its whole must have the `form`, a regular expression.

    `client` takes its place in a token of the client credentials grant, where `sub` is the client and what `text`
    asks for is not there.
    """

    text: ClaimName
    client: ClaimName | None = None
    form: ClaimName | None = None


class Scopes(_Data):
    claim: ClaimName
    format: Literal["list", "text"]


class Profile(_Data):
    """One kind of provider. The fields are explained at the head of this module."""

    source: tuple[str, ...]
    notes: tuple[str, ...]
    kind: Literal["access", "id", "workload"]
    typ: frozenset[str | None]
    algorithms: frozenset[str]
    audience: ClaimName
    shared_audiences: frozenset[str] = frozenset()
    client: tuple[ClaimName, ...]
    client_required: bool = False
    require: dict[ClaimName, tuple[str | int | bool, ...]] = {}
    present: tuple[ClaimName, ...] = ()
    forbid: tuple[ClaimName, ...] = ()
    subject: SubjectForm
    scopes: Scopes | None
    groups: ClaimName | None
    overage: tuple[ClaimName, ...] = ()
    max_lifetime: Annotated[int, Field(gt=0, le=LONGEST_LIFE)]
    misnamed: dict[str, str] = {}
    sentences: dict[str, str] = {}


@cache
def load_profile(name: str) -> Profile:
    """The profile called `name`. Raises MeshwardError (MW2001) if this version has none of that name."""
    file = files(__package__).joinpath(f"{name}.json")
    if not is_name(name) or not file.is_file():
        raise MeshwardError(
            codes.PROFILE_UNKNOWN,
            f"there is no issuer profile `{name}`",
        )
    return Profile.model_validate_json(file.read_bytes())
