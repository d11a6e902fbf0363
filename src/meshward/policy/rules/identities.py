"""Who is who: workloads, members of roles, agents, the people of tests; and where secrets are kept."""

from __future__ import annotations

from meshward.kit import codes
from meshward.kit.text import quoted
from meshward.policy.rules.findings import Findings
from meshward.policy.schema import Agent, AgentCredential, As, Member, Policy
from meshward.policy.servers import GENERATED

_KEPT = {"env": "name", "file": "path", "command": "command"}


def check_identities(policy: Policy, findings: Findings) -> None:
    _check_workloads(policy, findings)
    for role, members in policy.roles.items():
        for index, member in enumerate(members):
            _check_member(member, ("roles", role, index), findings)
    for name, agent in policy.agents.items():
        _check_agent(agent, ("agents", name, "credential"), findings)
    for number, test in enumerate(policy.tests):
        _check_caller(test.who, ("tests", number, "as"), findings)
    _check_secrets(policy, findings)


def _check_workloads(policy: Policy, findings: Findings) -> None:
    seen: dict[str, str] = {}
    for name, workload in policy.workloads.items():
        path = ("workloads", name, "id")
        steps = workload.id.split("/")[1:]
        if "." in steps or ".." in steps:
            findings.error(
                codes.MALFORMED_VALUE, path, "has a `.` or `..` segment", "Write the path in its plain form."
            )
        if steps == ["edge"] or steps[0] == "model":
            findings.error(
                codes.NAME_TAKEN,
                path,
                "is an identity of meshward itself",
                "Use a path outside /edge and /model.",
            )
        if seen.setdefault(workload.id, name) != name:
            message = f"is the id of {quoted(seen[workload.id])} too"
            findings.error(codes.AMBIGUOUS_NAME, path, message, "Give each workload an id of its own.")


def _check_member(member: Member, path: tuple[str | int, ...], findings: Findings) -> None:
    asks = [key for key in ("group", "claims", "subject") if getattr(member, key) is not None]
    if member.issuer is None and asks:
        message = f"asks for {quoted(asks[0])} and does not say whose"
        findings.error(
            codes.SUBJECT_MISSING, path, message, "Add `issuer:`: anybody may be in a group of any name."
        )
    elif member.workload is None and not asks:
        remedy = "Add `group:`, `claims:` or `subject:` with an issuer, or `workload:`."
        findings.error(codes.SUBJECT_MISSING, path, "asks nothing of the caller", remedy)


def _check_agent(agent: Agent, path: tuple[str | int, ...], findings: Findings) -> None:
    if not _is_whole(agent.credential):
        remedy = "Write `workload:`, or `issuer:` and `subject:`."
        findings.error(codes.SUBJECT_MISSING, path, "does not say who the agent is", remedy)


def _is_whole(credential: AgentCredential) -> bool:
    by_workload = credential.workload is not None
    given = (credential.issuer is not None, credential.subject is not None)
    return given == ((False, False) if by_workload else (True, True))


def _check_caller(who: As, path: tuple[str | int, ...], findings: Findings) -> None:
    if who.issuer is None and who.workload is None:
        findings.error(codes.SUBJECT_MISSING, path, "speaks for nobody", "Add `issuer:` or `workload:`.")
    told = [key for key in ("subject", "groups", "claims", "attributes") if getattr(who, key)]
    if who.issuer is None and told:
        findings.error(
            codes.SUBJECT_MISSING,
            path,
            f"has {quoted(told[0])} and no issuer",
            "Add `issuer:`, or take it out.",
        )


def _check_secrets(policy: Policy, findings: Findings) -> None:
    for name, credential in policy.credentials.items():
        path = ("credentials", name)
        if name == GENERATED:
            findings.error(codes.NAME_TAKEN, path, "is built in", "Give it another name.")
        for source, key in _KEPT.items():
            given = getattr(credential, key) is not None
            if source == credential.source and not given:
                message = f"lacks {quoted(key)}, where the secret is"
                findings.error(codes.SOURCE_KEY_MISFIT, path, message, f"Add {quoted(key + ':')}.")
            elif source != credential.source and given:
                message = f"means nothing with `from: {credential.source}`"
                findings.error(codes.SOURCE_KEY_MISFIT, (*path, key), message, "Take it out.")
    certificate = policy.edge.certificate
    if (certificate.source == "files") != (certificate.path is not None):
        message = "has a `path` that `from: generated` does not use" if certificate.path else "lacks `path`"
        remedy = "Write `{from: files, path: ...}` or `{from: generated}`."
        findings.error(codes.SOURCE_KEY_MISFIT, ("edge", "certificate"), message, remedy)
