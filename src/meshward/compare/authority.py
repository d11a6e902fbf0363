"""What widens beside `manage`: whom we believe, who has rights over meshward, who gets a secret, what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshward.compare.callers import facts_of, seen_by
from meshward.compare.edits import differences, listed
from meshward.compare.spans import FAR, before, spans
from meshward.compare.words import duration_text, member_text
from meshward.decide.roles import RoleIndex
from meshward.plan.ir import Audit, Credential, Issuer, Model, Plan
from meshward.policy.urls import ServerUrl


def widened_authority(old: Plan, new: Plan) -> Iterator[str]:
    """A sentence each, in the order of the format."""
    if old.trust_domain != new.trust_domain:
        yield f"a new trust domain, {new.trust_domain}"
    if set(old.edge.trusted_proxies) != set(new.edge.trusted_proxies):
        yield f"callers' addresses are told by others: {differences(old.edge, new.edge, ['trusted_proxies'])}"
    read = _attributes_read(new)
    for name, issuer in new.issuers.items():
        yield from _trust(old.issuers.get(name), issuer, read)
    yield from _rights(old, new)
    yield from _secrets(old, new)
    for model in new.models.values():
        yield from _kept_and_shared(old.models.get(model.name), model)
    yield from _records(old.audit, new.audit)


def _trust(old: Issuer | None, new: Issuer, read: frozenset[str]) -> Iterator[str]:
    if old is None:
        yield f"a new issuer, {new.name} ({new.url})"
    elif wider := list(_wider_terms(old, new, read)):
        yield f"the issuer {new.name} is believed on other terms: {differences(old, new, wider)}"


def _wider_terms(old: Issuer, new: Issuer, read: frozenset[str]) -> Iterator[str]:
    """The keys by which `new` may vouch for more, or for others. All but how people log in to it."""
    for key in ("profile", "url", "groups", "jwks_url", "jwks_file"):
        if getattr(old, key) != getattr(new, key):
            yield key
    for key in ("audiences", "clients"):
        if _takes_more(getattr(old, key), getattr(new, key)):
            yield key
    if new.max_stale > old.max_stale:
        yield "max_stale"
    if not new.allow <= old.allow:
        yield "allow"
    if any(old.attributes.get(name) != source for name, source in new.attributes.items() if name in read):
        yield "attributes"


def _takes_more(old: Sequence[str], new: Sequence[str]) -> bool:
    """Of a list that, when empty, takes everything."""
    return bool(old) and (not new or not set(new) <= set(old))


def _attributes_read(plan: Plan) -> frozenset[str]:
    """The attributes that some rule, limit or cache looks at."""
    selectors = [grant.models for grant in plan.grants] + [agent.models for agent in plan.agents.values()]
    selectors += [deny.models for deny in plan.denies if deny.models is not None]
    limits = [*(grant.limits for grant in plan.grants), *(agent.limits for agent in plan.agents.values())]
    return frozenset(
        [
            *(name for selector in selectors for name in selector.same),
            *(each.per for each in limits if each is not None),
            *(model.cache.share for model in plan.models.values() if model.cache is not None),
        ]
    )


def _rights(old: Plan, new: Plan) -> Iterator[str]:
    """Who comes to have an operators' right, or to keep it for longer. A workload has none."""
    index = RoleIndex(old.roles)
    for right, roles in new.operators.items():
        for role in roles:
            for line in new.roles.get(role, ()):
                held = index.memberships(seen_by(old, facts_of(line), new, ()))
                ends = [each.line.until for each in held if each.role in old.operators.get(right, ())]
                had = spans((-FAR, FAR if end is None else end) for end in ends)
                if line.workload is None and before(line.until) - had:
                    yield f"{member_text(line)} gains the operators' right `{right}`, by {role}"


def _secrets(old: Plan, new: Plan) -> Iterator[str]:
    before = {(secret, url) for secret, url, _ in _sent_secrets(old)}
    known = {secret for secret, _ in before}
    for secret, url, name in _sent_secrets(new):
        if (secret, url) not in before and (secret.source != "generated" or secret in known):
            yield f"the secret {name}, from {_where_kept(secret)}, is sent to {url}"


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


def _kept_and_shared(old: Model | None, new: Model) -> Iterator[str]:
    """Answers that others than their caller get, and texts that are kept, or traces that are not."""
    share = new.cache.share if new.cache is not None else "identity"
    shared = old.cache.share if old is not None and old.cache is not None else "identity"
    if share not in ("identity", shared) and shared != "everyone":
        yield f"answers of {new.name} are shared: {share}"
    if old is not None and (old.capture, new.capture) not in _HARMLESS and old.capture != new.capture:
        yield f"what is recorded of {new.name}'s texts changes: {old.capture} -> {new.capture}"


_HARMLESS = (("off", "digest"), ("capture", "sealed"), ("capture", "digest"), ("sealed", "digest"))


def _records(old: Audit, new: Audit) -> Iterator[str]:
    """Less that is kept, or more people who could read it."""
    if old.on_blind == "block" and new.on_blind != "block":
        yield f"requests pass that are not recorded: on_blind: {old.on_blind} -> {new.on_blind}"
    if new.max_blind > old.max_blind:
        times = f"{duration_text(old.max_blind)} -> {duration_text(new.max_blind)}"
        yield f"requests pass for longer that are not recorded: max_blind: {times}"
    if new.retention < old.retention:
        times = f"{duration_text(old.retention)} -> {duration_text(new.retention)}"
        yield f"records are erased sooner: retention: {times}"
    if new.on_blind == "alert" and _room(new) < _room(old):
        yield f"requests pass sooner that are not recorded: {differences(old, new, ['max_disk'])}"
    if more := [each for each in new.seal_to if each not in old.seal_to]:
        yield f"texts are sealed to further keys: {listed(more)}"


def _room(audit: Audit) -> float:
    return float("inf") if audit.max_disk is None else audit.max_disk
