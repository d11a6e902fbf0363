"""Grants, denies, laws and agents: unique ids, and every part says something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshward.kit import codes
from meshward.kit.text import quoted
from meshward.policy.rules.findings import Findings
from meshward.policy.schema import Deny, Grant, Limits, ModelSelector, Never, Policy, Selection, When

Path = tuple[str | int, ...]

_SELECTS = ("subjects", "roles", "models", "actions", "when")


def check_access(policy: Policy, findings: Findings) -> None:
    for section in ("grants", "denies", "never"):
        _check_ids(section, getattr(policy, section), findings)
    for index, deny in enumerate(policy.denies):
        if all(getattr(deny, key) is None for key in _SELECTS):
            remedy = "Add `subjects`, `roles`, `models`, `actions` or `when`."
            findings.error(codes.EMPTY_PART, ("denies", index), "would deny everything to everybody", remedy)
    for path, selection in _selections(policy):
        _check_selector(selection, path, findings)
    for index, law in enumerate(policy.never):
        _check_law(policy, law, ("never", index), findings)
    for path, part in _parts(policy):
        _check_part(part, path, findings)


def _check_ids(section: str, entries: Sequence[Grant | Deny | Never], findings: Findings) -> None:
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        first = seen.setdefault(entry.id, index)
        if first != index:
            message = f"{quoted(entry.id)} is given twice, first at {findings.place((section, first, 'id'))}"
            findings.error(
                codes.AMBIGUOUS_NAME,
                (section, index, "id"),
                message,
                "Records name it by its id: choose another.",
            )


def _selections(policy: Policy) -> Iterator[tuple[Path, Selection | None]]:
    for index, grant in enumerate(policy.grants):
        yield ("grants", index, "models"), grant.models
    for index, deny in enumerate(policy.denies):
        yield ("denies", index, "models"), deny.models
    for index, law in enumerate(policy.never):
        yield ("never", index, "models"), law.models
    for name, agent in policy.agents.items():
        yield ("agents", name, "models"), agent.models


def _check_selector(selection: Selection | None, path: Path, findings: Findings) -> None:
    if not isinstance(selection, ModelSelector):
        return
    if not selection.labels and not selection.same:
        findings.error(codes.EMPTY_PART, path, "selects nothing", "Add `labels:` or `same:`, or write `all`.")


def _check_law(policy: Policy, law: Never, path: Path, findings: Findings) -> None:
    """A law about models that do not exist holds whatever the grants say."""
    if not isinstance(law.models, ModelSelector):
        return
    wanted = law.models.labels.items()
    if not any(wanted <= model.labels.items() for model in policy.models.values()):
        remedy = "Label a model so, or correct the label."
        findings.lint(codes.LAW_ABOUT_NOTHING, (*path, "models"), "selects labels that no model has", remedy)


def _parts(policy: Policy) -> Iterator[tuple[Path, When | Limits | None]]:
    for index, grant in enumerate(policy.grants):
        yield ("grants", index, "when"), grant.when
        yield ("grants", index, "limits"), grant.limits
    for index, deny in enumerate(policy.denies):
        yield ("denies", index, "when"), deny.when
    for name, agent in policy.agents.items():
        yield ("agents", name, "limits"), agent.limits


def _check_part(part: When | Limits | None, path: Path, findings: Findings) -> None:
    """An empty condition or limit would read like one that is there."""
    if isinstance(part, When) and all(getattr(part, key) is None for key in When.model_fields):
        findings.error(codes.EMPTY_PART, path, "has no condition", "Add one, or take `when` out.")
    elif (
        isinstance(part, Limits) and part.requests is None and part.tokens is None and part.concurrent is None
    ):
        findings.error(codes.EMPTY_PART, path, "limits nothing", "Add `requests`, `tokens` or `concurrent`.")
