"""The policy's text. Whatever was typed or discovered goes in as a JSON string, which YAML reads as that text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from meshward.draft.issuers import Recognised
from meshward.draft.servers import FoundServer
from meshward.kit.names import is_name
from meshward.policy.schema import Profile

NAMES: dict[Profile, str] = {"cognito": "aws", "github-actions": "ci", "kubernetes": "cluster", "oidc": "sso"}
"""What the policy calls an issuer; every subject begins with it. By default as its profile."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything that was asked or discovered. `who` is one way to be a member: group, subject or claims."""

    issuer: Recognised
    audience: str | None
    client: str | None
    who: dict[str, object]
    url: str
    server: FoundServer
    name: str
    listen: str
    hostname: str

    @property
    def issuer_name(self) -> str:
        return NAMES.get(self.issuer.profile, self.issuer.profile)


def model_name(model: str | None) -> str:
    """A name of the policy's alphabet for what a server calls its model: `BAAI/bge-m3` is `bge-m3`."""
    last = (model or "").rpartition("/")[2].lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", last).strip("._-")[:63]
    return name if is_name(name) else "model"


def policy_text(draft: Draft) -> str:
    """A whole policy, with a comment for each decision that a person may want to change."""
    return "\n".join([*_head(draft), *_issuer(draft), *_roles(draft), *_model(draft), *_rules(draft), ""])


def first_call(draft: Draft) -> str:
    """A command that uses the model as whoever is signed in."""
    body, path = '{"inputs":"hello"}', "/embed"
    if draft.server.kind != "tei":
        body, path = '{"messages":[{"role":"user","content":"hello"}]}', "/v1/chat/completions"
    return (
        f"meshward token --header | curl --cacert .meshward/root.pem {base_url(draft)}{path} -H @- "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )


def base_url(draft: Draft) -> str:
    return f"https://{draft.hostname}:{draft.listen.rpartition(':')[2]}/m/{draft.name}"


def _head(draft: Draft) -> Iterator[str]:
    domain = (
        draft.hostname if "." in draft.hostname and not draft.hostname[-1].isdigit() else "models.internal"
    )
    yield "# A first policy, written by `meshward init`. Change it, and see with `meshward check` what you get."
    yield "# Every key of the format: docs/policy.md."
    yield "version: 1"
    yield f"trust_domain: {domain}   # the name under which edge and guards know each other; nobody outside sees it"
    yield ""
    yield "edge:"
    yield f"  listen: {_text(draft.listen)}"
    yield f"  hostname: {_text(draft.hostname)}   # the only host name that is answered"
    yield ""


def _issuer(draft: Draft) -> Iterator[str]:
    issuer = draft.issuer
    yield "issuers:   # who vouches for people; the name here begins every subject in records"
    yield f"  {draft.issuer_name}:"
    yield f"    profile: {issuer.profile}   # the shape of its tokens"
    if issuer.profile == "cognito":
        region, pool = issuer.pool
        yield f"    region: {_text(region)}"
        yield f"    user_pool: {_text(pool)}"
        yield f"    clients: [{_text(draft.client or '')}]   # its access tokens name their client, and no audience"
    else:
        if issuer.profile != "github-actions":
            yield f"    issuer: {_text(issuer.url)}"
        yield f"    audience: {_text(draft.audience or '')}   # what its tokens for this edge name as `aud`"
    if issuer.profile == "oidc":
        yield "    groups: /groups   # where its tokens list groups: a JSON pointer into the claims"
    if draft.client is not None:
        yield f"    login: {{client: {_text(draft.client)}}}   # the public client of `meshward login`"
    if issuer.allow:
        why = "no TLS, so only on this machine" if "http" in issuer.allow else "its address is not public"
        yield f"    jwks: {{allow: [{', '.join(issuer.allow)}]}}   # {why}"
    yield ""


def _roles(draft: Draft) -> Iterator[str]:
    yield "roles:   # what every layer calls people by; each line is one way to be a member"
    yield "  user:"
    yield f"    - {_flow({'issuer': draft.issuer_name, **draft.who})}"
    yield ""


def _model(draft: Draft) -> Iterator[str]:
    yield "models:"
    yield f"  {draft.name}:   # its base URL is {base_url(draft)}"
    if draft.server.task:
        yield f"    task: {_text(draft.server.task)}"
    if draft.server.model and draft.server.model != draft.name:
        yield f"    aliases: [{_text(draft.server.model)}]   # what clients may call it in a body's `model`"
    yield "    versions:"
    yield f"      v1: {_flow({'server': draft.server.kind, 'url': draft.url})}"
    yield ""


def _rules(draft: Draft) -> Iterator[str]:
    yield "grants:   # nothing is permitted without one; the first that holds pays"
    yield "  - id: first"
    yield "    roles: [user]"
    yield f"    models: [{draft.name}]"
    yield "    actions: [infer, describe]   # also: observe (metrics), manage"
    yield "    limits: {requests: 600/min}   # for each person"
    yield ""
    yield "tests:   # run by `meshward check`; one that fails refuses the policy"
    asked = f"model: {draft.name}, action: infer"
    yield f"  - {{as: {_flow(_as(draft))}, {asked}, expect: permit}}"
    yield f"  - {{as: {_flow({'issuer': draft.issuer_name, 'subject': 'nobody'})}, {asked}, expect: denial}}"


def _as(draft: Draft) -> dict[str, object]:
    """Somebody whom the role's line means."""
    who = dict(draft.who)
    if "group" in who:
        who["groups"] = [who.pop("group")]
    return {"issuer": draft.issuer_name, **who}


def _flow(value: dict[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
