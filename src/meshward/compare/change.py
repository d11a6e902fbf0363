"""What one plan changes against another: who gains and who loses, and what else differs. Pure.

Who may do what is compared by meaning: a role that is renamed with its members gives nobody anything new. Rules
whose effect depends on the moment (conditions, expiries, limits) are compared by what they say.

A change is *widening* where somebody could come to hold `manage` or an operators' right, where a new authority is
trusted, or where a secret is sent to a server that did not get it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields

from meshward.compare.entitlements import Entitlements, member_text
from meshward.kit.canonical import digest
from meshward.kit.text import quoted
from meshward.plan.ir import Credential, Deny, Grant, Issuer, Model, Plan, Version
from meshward.policy.urls import ServerUrl


@dataclass(frozen=True, slots=True, order=True)
class Holds:
    """`role` holds `permission` by `grants`. `who` are the members for whom that is new (or no more)."""

    permission: str
    role: str
    grants: tuple[str, ...]
    who: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """`what` of the policy (`grant`, `issuer`, ...) called `name` is `added`, `removed`, or says something else."""

    what: str
    name: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Change:
    """From the plan with digest `before` to the one with digest `after`. Sequences are in a fixed order."""

    before: str
    after: str
    gained: tuple[Holds, ...]
    lost: tuple[Holds, ...]
    edits: tuple[Edit, ...]
    widening: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Names exactly this change: what was reviewed, on top of what was running."""
        return digest(asdict(self))

    @property
    def is_empty(self) -> bool:
        return self.before == self.after

    def lines(self) -> list[str]:
        """For people."""
        return list(_lines(self))


def compare(old: Plan | None, new: Plan) -> Change:
    """What `new` changes against `old`; None: nothing was accepted yet."""
    mine, theirs = Entitlements(old) if old else None, Entitlements(new)
    gained = tuple(_more(mine, theirs))
    lost = tuple(_more(theirs, mine)) if mine else ()
    edits = tuple(sorted(_edits(old, new))) if old else ()
    widening = (*_manage(gained), *(_describe_widening(old, new) if old else ()))
    return Change(old.digest if old else "", new.digest, gained, lost, edits, tuple(dict.fromkeys(widening)))


def _more(less: Entitlements | None, more: Entitlements) -> Iterator[Holds]:
    """What `more` gives and `less` does not, by permission and role."""
    for role, action, models in more.held():
        before = less.models(role, action) if less else frozenset()
        for model in sorted(models):
            new = [
                line for line in more.lines(role) if less is None or model not in less.models_of(line, action)
            ]
            if model not in before or new:
                grants = more.grants(role, action, model)
                yield Holds(f"{model}.{action}", role, grants, tuple(member_text(line) for line in new))


def _manage(gained: Iterable[Holds]) -> Iterator[str]:
    for each in gained:
        if each.permission.endswith(".manage"):
            yield f"{each.role} gains {each.permission}"


def _describe_widening(old: Plan, new: Plan) -> Iterator[str]:
    """Beside `manage` that is plainly gained: what could let it be gained, and whom we believe."""
    if old.trust_domain != new.trust_domain:
        yield f"a new trust domain, {new.trust_domain}"
    for name, issuer in new.issuers.items():
        yield from _trust(old.issuers.get(name), issuer)
    for grant in new.grants:
        if "manage" in grant.actions and not grant.shadow and not _given_before(old, grant):
            yield f"the grant {grant.id} gives `manage` to more, or under other conditions"
    denies = {deny.id: deny for deny in new.denies}
    for deny in old.denies:
        if (deny.actions is None or "manage" in deny.actions) and denies.get(deny.id) != deny:
            yield f"the rule {deny.id}, which denies `manage`, is changed or gone"
    for model in new.models.values():
        yield from _describe_rerouted(old.models.get(model.name), model)
    for right in new.operators:
        yield from _rights(right, old, new)
    before = {(secret, url) for secret, url, _ in _sent_secrets(old)}
    known = {secret for secret, _ in before}
    for secret, url, name in _sent_secrets(new):
        if (secret, url) not in before and (secret.source != "generated" or secret in known):
            yield f"the secret {name}, from {_where_kept(secret)}, is sent to {url}"


def _rights(right: str, old: Plan, new: Plan) -> Iterator[str]:
    """Who comes to have an operators' right."""
    before = {line for role in old.operators.get(right, ()) for line in old.roles.get(role, ())}
    for role in new.operators[right]:
        for line in new.roles.get(role, ()):
            if line not in before:
                yield f"{member_text(line)} gains the operators' right `{right}`, by {role}"


def _sent_secrets(plan: Plan) -> Iterator[tuple[Credential, ServerUrl, str]]:
    """Which secret goes to which server, and its name."""
    for model in plan.models.values():
        for version in model.versions:
            secret = plan.secret_of(model.name, version.name)
            if secret is not None:
                yield from ((secret, url, str(version.credential)) for url in version.urls)


def _where_kept(secret: Credential) -> str:
    """The arguments of a command may be long, and are in the policy."""
    if secret.source == "generated":
        return f"what is kept for {'/'.join(secret.place)}"
    return f"{secret.source} {secret.place[0]}"


def _trust(old: Issuer | None, new: Issuer) -> Iterator[str]:
    if old is None:
        yield f"a new issuer, {new.name} ({new.url})"
    elif _trust_fields(old) != _trust_fields(new):
        yield f"the issuer {new.name} is believed on other terms"


def _trust_fields(issuer: Issuer) -> Mapping[str, object]:
    """All of an issuer but how people log in to it."""
    return {
        field.name: getattr(issuer, field.name) for field in fields(issuer) if field.name != "login_client"
    }


def _given_before(old: Plan, grant: Grant) -> bool:
    """Whether each of `grant`'s roles held `manage` on all its models before, under the same conditions."""
    return all(any(_as_wide(other, grant, role) for other in old.grants) for role in grant.roles)


def _as_wide(old: Grant, new: Grant, role: str) -> bool:
    same = (old.when, old.expires, old.on_request, old.models.same, old.shadow)
    return (
        "manage" in old.actions
        and role in old.roles
        and new.models.names <= old.models.names
        and same == (new.when, new.expires, new.on_request, new.models.same, new.shadow)
    )


def _describe_rerouted(old: Model | None, new: Model) -> Iterator[str]:
    """Routes of `manage` that now ask for less."""
    for version in new.versions if old else ():
        for route, action in version.routes.items():
            if action != "manage" and old is not None and old.action_of(route.method, route.path) == "manage":
                yield f"{route} of {new.name} was `manage` and becomes `{action}`"


def _edits(old: Plan, new: Plan) -> Iterator[Edit]:
    yield from _edits_by_name("grant", _by_id(old.grants), _by_id(new.grants))
    yield from _edits_by_name("deny", _by_id(old.denies), _by_id(new.denies))
    yield from _edits_by_name("never", _by_id(old.never), _by_id(new.never))
    yield from _edits_by_name("issuer", old.issuers, new.issuers)
    yield from _edits_by_name("agent", old.agents, new.agents)
    yield from _edits_by_name("workload", old.workloads, new.workloads)
    yield from _edits_by_name("alias", old.aliases, new.aliases)
    yield from _edits_by_name("credential", old.credentials, new.credentials)
    for role in sorted(old.roles.keys() | new.roles.keys()):
        yield from _members(role, old, new)
    for name in sorted(old.models.keys() | new.models.keys()):
        yield from _model(name, old.models.get(name), new.models.get(name))
    for what in ("trust_domain", "edge", "operators", "audit"):
        yield from _edits_by_name("setting", {what: getattr(old, what)}, {what: getattr(new, what)})


def _by_id(rules: Iterable[Grant | Deny | object]) -> dict[str, object]:
    return {str(getattr(rule, "id")): rule for rule in rules}  # noqa: B009  three kinds that share only this


def _edits_by_name(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Edit]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield Edit(what, name, "added")
        elif name not in new:
            yield Edit(what, name, "removed")
        elif old[name] != new[name]:
            yield Edit(what, name, f"changed: {_name_differences(old[name], new[name])}")


def _name_differences(old: object, new: object) -> str:
    """The fields that differ, without their values: those may be long, and stand in the policy."""
    names = getattr(type(old), "__dataclass_fields__", None)
    if names is None:
        return f"{old} -> {new}" if isinstance(old, str) else "its content"
    return ", ".join(name for name in names if getattr(old, name) != getattr(new, name))


def _members(role: str, old: Plan, new: Plan) -> Iterator[Edit]:
    before, after = old.roles.get(role), new.roles.get(role)
    if before is None or after is None:
        yield Edit("role", role, "removed" if after is None else "added")
        return
    for line in after:
        if line not in before:
            yield Edit("role", role, f"{member_text(line)} becomes a member")
    for line in before:
        if line not in after:
            yield Edit("role", role, f"{member_text(line)} is a member no more")


def _model(name: str, old: Model | None, new: Model | None) -> Iterator[Edit]:
    if old is None or new is None:
        yield Edit("model", name, "removed" if new is None else "added")
        return
    versions = {each.name: each for each in old.versions}
    now = {each.name: each for each in new.versions}
    for edit in _edits_by_name("version", versions, now):
        weights = [f"{each[edit.name].weight}" for each in (versions, now) if edit.name in each]
        moved = f" (weight {' -> '.join(weights)})" if len(set(weights)) > 1 else ""
        servers = _servers(versions.get(edit.name), now.get(edit.name))
        yield Edit("version", f"{name}/{edit.name}", edit.sentence + moved + servers)
    rest = [field.name for field in fields(old) if field.name not in ("versions", "name")]
    if different := [field for field in rest if getattr(old, field) != getattr(new, field)]:
        yield Edit("model", name, f"changed: {', '.join(different)}")


def _servers(old: Version | None, new: Version | None) -> str:
    """Which servers come and go, and what they call the model."""
    if old is None or new is None:
        return ""
    signs = [f"+{url}" for url in new.urls if url not in old.urls]
    signs += [f"-{url}" for url in old.urls if url not in new.urls]
    if old.upstream_model != new.upstream_model:
        signs.append(f"there {_called(old)} -> {_called(new)}")
    return f" ({', '.join(signs)})" if signs else ""


def _called(version: Version) -> str:
    return "no name" if version.upstream_model is None else quoted(version.upstream_model)


def _lines(change: Change) -> Iterator[str]:
    if change.is_empty:
        yield "Nothing changes."
        return
    for sign, verb, each in (
        *(("+", "gains", each) for each in change.gained),
        *(("-", "loses", each) for each in change.lost),
    ):
        who = f" ({', '.join(each.who)})" if each.who else " (nobody who did not hold it otherwise)"
        yield f"{sign} {each.role} {verb} {each.permission}, by {', '.join(each.grants)}{who}"
    if not change.gained and not change.lost:
        yield "Nobody gains and nobody loses a permission."
    yield from (f"~ {edit.what} {edit.name}: {edit.sentence}" for edit in change.edits)
    yield from (f"! widening: {sentence}" for sentence in change.widening)
