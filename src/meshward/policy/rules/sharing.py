"""Models that share a server: only where it tells them apart by the names in bodies, and each says one of its own.

Else whoever may use one of them could use the others. What is about the whole server (`observe`, `manage`) is no
model's own there, so no rule may give it for one of them alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from meshward.kit import codes
from meshward.kit.text import quoted
from meshward.policy.positions import Path
from meshward.policy.rules.findings import Findings
from meshward.policy.schema import ACTIONS, Action, ModelSelector, Policy, Selection, Version
from meshward.policy.servers import NAMING, naming_of, server_kinds
from meshward.policy.urls import shared_key


@dataclass(frozen=True, slots=True)
class _Tenant:
    """A version at one of its servers, which is given at `path`."""

    model: str
    name: str
    version: Version
    selects: bool
    path: Path

    @property
    def place(self) -> Path:
        return ("models", self.model, "versions", self.name)

    @property
    def title(self) -> str:
        return f"{self.model}.{self.name}"


def check_sharing(policy: Policy, findings: Findings) -> None:
    shared = [each for each in _tenants(policy) if len({tenant.model for tenant in each}) > 1]
    misfits = list(dict.fromkeys(misfit for tenants in shared for misfit in _misfits(tenants)))
    for path, message, remedy in misfits:
        findings.error(codes.SERVER_SHARED, path, message, remedy)
    if not misfits:
        together = dict.fromkeys(tuple(sorted({tenant.model for tenant in tenants})) for tenants in shared)
        _check_rights(policy, tuple(together), findings)


def _tenants(policy: Policy) -> Iterable[list[_Tenant]]:
    """Those of each server, in the order of the file."""
    kinds = server_kinds(policy)
    found: dict[str, list[_Tenant]] = {}
    for model, body in policy.models.items():
        for name, version in body.versions.items():
            kind = kinds.get(version.server)
            selects = kind is None or naming_of(version.server, kind).does == "selects"
            place: Path = ("models", model, "versions", name)
            paths: list[Path] = [
                (*place, "url"),
                *((*place, "replicas", i) for i in range(len(version.replicas))),
            ]
            for path, url in zip(paths, (version.url, *version.replicas), strict=True):
                found.setdefault(shared_key(url), []).append(_Tenant(model, name, version, selects, path))
    return found.values()


def _misfits(tenants: Sequence[_Tenant]) -> Iterator[tuple[Path, str, str]]:
    """Each tenant of a server with several models by which it cannot tell them apart."""
    first = tenants[0]
    second = next(each for each in tenants if each.model != first.model)
    called: dict[str, _Tenant] = {}
    for each in tenants:
        other = quoted((second if each.model == first.model else first).title)
        own = each.version.model
        if not each.selects:
            message = f"is the server of {other} too, and kind {quoted(each.version.server)} does not tell them apart"
            yield (
                each.path,
                message,
                "Give each model a server of its own; or, of a kind of your own that does, say `body_model: selects`.",
            )
        elif own is None:
            message = f"shares its server with {other}, and no `model` says what it is called there"
            yield each.place, message, "Say under `model` what the server calls it, for each of them."
        elif (owner := called.setdefault(own, each)).model != each.model:
            message = f"is what the server of both calls {quoted(owner.title)}"
            remedy = "Let the server have a name for each, or make them versions of one model."
            yield (*each.place, "model"), message, remedy


_WHOLE = frozenset(ACTIONS) - frozenset(NAMING)


def _check_rights(policy: Policy, together: Iterable[tuple[str, ...]], findings: Findings) -> None:
    """No rule treats models of one server differently in what is about all of it."""
    for path, selection, actions in _rights(policy):
        if actions is not None and not _WHOLE & set(actions):
            continue
        for names in together:
            if findings.are_enough:
                return
            first = _treated(selection, names[0], policy)
            odd = next((name for name in names if _treated(selection, name, policy) != first), None)
            if odd is not None:
                message = f"treats {quoted(names[0])} otherwise than {quoted(odd)}, which has the same server"
                code = codes.RIGHT_OVER_SHARED
                findings.error(code, (*path, "models"), message, code.remedy)


def _rights(policy: Policy) -> Iterator[tuple[Path, Selection | None, Sequence[Action] | None]]:
    for index, grant in enumerate(policy.grants):
        yield ("grants", index), grant.models, grant.actions
    for index, deny in enumerate(policy.denies):
        yield ("denies", index), deny.models, deny.actions
    for name, agent in policy.agents.items():
        yield ("agents", name), agent.models, agent.actions


def _treated(selection: Selection | None, model: str, policy: Policy) -> object:
    """Equal for two models that `selection` does not tell apart, whoever asks."""
    if isinstance(selection, list):
        return model in selection
    if not isinstance(selection, ModelSelector):
        return True
    labels = policy.models[model].labels
    chosen = selection.labels.items() <= labels.items()
    return tuple(labels.get(name) for name in selection.same) if chosen else None
