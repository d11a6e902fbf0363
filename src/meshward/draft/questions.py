"""What `init` needs to know: as given, else as discovered, else as a person answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meshward.check.checking import check
from meshward.draft.issuers import Recognised, recognise
from meshward.draft.servers import FoundServer, probe
from meshward.draft.text import Draft, model_name, policy_text
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem
from meshward.kit.names import is_name
from meshward.login.wire import Wire
from meshward.policy.parse import Source, parse
from meshward.policy.servers import BUILT_IN

GOOGLE = "https://accounts.google.com"
Ask = Callable[[str, str, str | None], str]
"""(flag, question, what is usual) -> the answer."""


@dataclass(frozen=True, slots=True)
class Given:
    """The flags; None where one was not given."""

    issuer: str | None
    model_url: str | None
    client: str | None
    audience: str | None
    group: str | None
    subject: str | None
    claim: str | None
    server: str | None
    name: str | None
    listen: str
    hostname: str


def ask_for_draft(given: Given, ask: Ask, tell: Callable[[str], None]) -> Draft:
    """Discovers, then asks for the rest. Raises MeshwardError, MW2122 for what nobody answers."""
    issuer = recognise(given.issuer or ask("--issuer", "The issuer's URL", None), Wire())
    tell(f"issuer: {issuer.url}, profile {issuer.profile}")
    where = "The model server's URL (unix:/path or http://host:port)"
    url = given.model_url or ask("--model-url", where, None)
    server = _server(url, given.server)
    tell(f"model server: {server.kind}, which serves {server.model or 'a model that it does not name'}")
    client = _client(issuer, given.client, ask)
    return Draft(
        issuer=issuer,
        audience=_audience(issuer, client, given, ask),
        client=client,
        who=_who(given, ask),
        url=url,
        server=server,
        name=_name(given.name, server, ask),
        listen=given.listen,
        hostname=given.hostname,
    )


def check_draft(draft: Draft, out: Path) -> tuple[str, list[Problem]]:
    """The policy's text, and what `check` points out in it. Raises PolicyInvalid if it is not good."""
    text = policy_text(draft)
    findings = check(parse([Source(str(out), text.encode())]), int(time.time()))
    if any(problem.severity == "error" for problem in findings):
        raise PolicyInvalid(findings)
    return text, findings


def by_flags(flag: str, question: str, usual: str | None) -> str:
    """Where there is nobody to ask."""
    if usual is None:
        raise unanswered_error(
            f"{question.lower()}: not given", f"Give {flag}; there is no terminal to ask in."
        )
    return usual


def ask_by(write: Callable[[str], object], read: Callable[[], str]) -> Ask:
    """Asks until there is an answer. `read` gives a line, empty at the end of all."""

    def ask(flag: str, question: str, usual: str | None) -> str:
        while True:
            write(f"{question}{f' [{usual}]' if usual else ''}: ")
            line = read()
            if not line:
                raise unanswered_error(f"{question.lower()}: no answer", f"Answer, or give {flag}.")
            if answer := line.strip():
                return answer
            if usual is not None:
                return usual

    return ask


def unanswered_error(message: str, remedy: str) -> MeshwardError:
    return MeshwardError(codes.ANSWER_MISSING, message, remedy)


def _server(url: str, kind: str | None) -> FoundServer:
    if kind is None:
        return probe(url)
    if kind not in BUILT_IN:
        raise unanswered_error(f"`{kind}` is no kind of server", f"Known: {', '.join(BUILT_IN)}.")
    return FoundServer(kind, None, None)


def _client(issuer: Recognised, client: str | None, ask: Ask) -> str | None:
    """Workloads do not sign in. Cognito's tokens name nothing but their client; elsewhere there may be none."""
    if client is not None or issuer.profile in ("github-actions", "kubernetes"):
        return client or None
    needed = issuer.profile == "cognito"
    hint = "The public client that people sign in with" + ("" if needed else " (empty: none)")
    return ask("--client", hint, None if needed else "") or None


def _audience(issuer: Recognised, client: str | None, given: Given, ask: Ask) -> str | None:
    if given.audience or issuer.profile == "cognito":
        return given.audience
    usual = {
        "okta": "api://default",
        "entra": client,
        "github-actions": f"https://{given.hostname}",
        "kubernetes": f"https://{given.hostname}",
        "oidc": client if issuer.url == GOOGLE else None,  # its only JWTs are ID tokens
    }
    return ask("--audience", "The audience of its tokens (`aud`)", usual.get(issuer.profile))


def _who(given: Given, ask: Ask) -> dict[str, object]:
    """One way to be a member; all of it must hold."""
    who: dict[str, object] = {}
    if given.claim is not None:
        key, equals, value = given.claim.partition("=")
        if not (key and equals and value):
            raise unanswered_error(
                f"--claim `{given.claim}` is not NAME=VALUE", "Example: --claim repository_id=701233"
            )
        who["claims"] = {key: value}
    if given.subject is not None:
        who["subject"] = given.subject
    if given.group is not None or not who:
        who["group"] = given.group or ask("--group", "A group whose members may use the model", None)
    return who


def _name(name: str | None, server: FoundServer, ask: Ask) -> str:
    chosen = name or ask("--name", "What the policy calls the model", model_name(server.model))
    if not is_name(chosen):
        raise unanswered_error(f"`{chosen}` is no name", "Use 1 to 63 of a-z, 0-9, `.`, `_`, `-`.")
    return chosen
