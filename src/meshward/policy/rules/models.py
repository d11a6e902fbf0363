"""Models, versions and servers: routes with one meaning, names with one owner, weights that add up."""

from __future__ import annotations

from collections.abc import Iterable

from meshward.kit import codes
from meshward.kit.names import LONGEST_SAID, dns_label
from meshward.kit.text import quoted
from meshward.policy.rules.findings import Findings
from meshward.policy.schema import ACTIONS, Action, Model, Policy, Server, Version
from meshward.policy.servers import BUILT_IN, WITH_BODY, listed_routes, routes_of, server_kinds
from meshward.policy.urls import crosses_in_clear, server_key
from meshward.policy.values import Route

_MOST_SAID = 6000  # nginx reads an answer of at most 16 KiB


def check_models(policy: Policy, findings: Findings) -> None:
    for name, server in policy.servers.items():
        _check_server(name, server, findings)
    meanings = {name: routes_of(server) for name, server in server_kinds(policy).items()}
    for name, model in policy.models.items():
        _check_meanings(name, model, meanings, findings)
        _check_traffic(name, model, findings)
    _check_aliases(policy, findings)
    _check_audiences(policy, findings)
    _check_dns_names(policy, findings)
    _check_upstreams(policy, findings)
    _check_sealing(policy, findings)


def _check_server(name: str, server: Server, findings: Findings) -> None:
    path = ("servers", name)
    if name in BUILT_IN:
        findings.error(codes.NAME_TAKEN, path, "is a built-in server kind", "Give it another name.")
    if not any(getattr(server, action) for action in ACTIONS):
        findings.error(codes.EMPTY_PART, path, "has no route", "List the routes of at least one action.")
    seen: dict[Route, str] = {}
    for action, index, route in listed_routes(server):
        if route in seen:
            message = f"{quoted(str(route))} is listed under {quoted(seen[route])} already"
            findings.error(
                codes.AMBIGUOUS_ROUTE, (*path, action, index), message, "Give each route one action."
            )
        seen.setdefault(route, action)
    if server.health is not None:
        _check_health(server.health, seen, (*path, "health"), findings)
    if server.body_model == "selects":
        _check_bodies(server, path, findings)


def _check_bodies(server: Server, path: tuple[str, ...], findings: Findings) -> None:
    """Where several models share a server, each use of one of them must name it."""
    for index, route in enumerate(server.infer):
        if route.method not in WITH_BODY:
            message = (
                f"{quoted(str(route))} has no body, in which `body_model: selects` says that a model is named"
            )
            remedy = "List it under another action, or let the server's models not share it."
            findings.error(codes.SERVER_SHARED, (*path, "infer", index), message, remedy)


def _check_health(route: Route, seen: dict[Route, str], path: tuple[str, ...], findings: Findings) -> None:
    if route.method != "GET":
        findings.error(codes.AMBIGUOUS_ROUTE, path, "is not a `GET` route", "Health is asked without a body.")
    if route in seen:
        message = f"is listed under {quoted(seen[route])} too"
        findings.error(
            codes.AMBIGUOUS_ROUTE,
            path,
            message,
            "Health is for meshward alone: list another route for clients.",
        )


def _check_meanings(
    name: str, model: Model, meanings: dict[str, dict[Route, Action]], findings: Findings
) -> None:
    """Versions share one URL, so what a request means must not depend on which of them answers."""
    first: dict[Route, tuple[str, Action]] = {}
    done: set[str] = set()
    for version, body in model.versions.items():
        if body.server in done:
            continue
        done.add(body.server)
        for route, action in meanings.get(body.server, {}).items():
            other, meaning = first.setdefault(route, (version, action))
            if meaning != action:
                was = f"for version {quoted(other)} it is {quoted(meaning)}"
                message = f"makes {quoted(str(route))} {quoted(action)}; {was}"
                remedy = "Give the route one action in both server kinds, or make two models."
                findings.error(
                    codes.AMBIGUOUS_ROUTE, ("models", name, "versions", version, "server"), message, remedy
                )


def _check_traffic(name: str, model: Model, findings: Findings) -> None:
    if model.traffic is None:
        return
    path = ("models", name, "traffic")
    for version in model.traffic:
        if version not in model.versions:
            findings.error(
                codes.TRAFFIC_TO_NOWHERE,
                (*path, version),
                "is not a version of the model",
                "Name one of its versions.",
            )
    if not any(model.traffic.values()):
        findings.error(
            codes.TRAFFIC_TO_NOWHERE,
            path,
            "sends nothing anywhere",
            "Give one version a weight, or take `traffic` out.",
        )


def _check_aliases(policy: Policy, findings: Findings) -> None:
    owners: dict[str, str] = {}
    for name, model in policy.models.items():
        for index, alias in enumerate(model.aliases):
            path = ("models", name, "aliases", index)
            if alias in policy.models:
                findings.error(
                    codes.AMBIGUOUS_NAME,
                    path,
                    f"{quoted(alias)} is the name of a model",
                    "Choose another alias.",
                )
            elif alias in owners:
                message = f"{quoted(alias)} is an alias of {quoted(owners[alias])} already"
                findings.error(
                    codes.AMBIGUOUS_NAME, path, message, "An alias means one model: take one of them out."
                )
            owners.setdefault(alias, name)
            _check_length(alias, path, findings)
        remedy = "Take out what no client says."
        _check_room(model.aliases, "are", ("models", name, "aliases"), remedy, findings)


def _check_length(said: str, path: tuple[str | int, ...], findings: Findings) -> None:
    if len(said) > LONGEST_SAID:
        message = f"is longer than {LONGEST_SAID} characters: the edge lets no body say it"
        findings.error(codes.OUT_OF_BOUNDS, path, message, "Give it a shorter name.")


def _check_room(
    said: Iterable[str], what: str, path: tuple[str, ...], remedy: str, findings: Findings
) -> None:
    """In the decision's answer, where each byte is percent-encoded at worst, and a space follows each name."""
    if sum(3 * len(name.encode()) + 1 for name in said) > _MOST_SAID:
        message = f"{what} more than {_MOST_SAID} bytes together, as the edge is told them"
        findings.error(codes.OUT_OF_BOUNDS, path, message, remedy)


def _check_audiences(policy: Policy, findings: Findings) -> None:
    """Every Transaction Token is for the trust domain and for one permission, so these must not look alike."""
    model, _, action = policy.trust_domain.rpartition(".")
    if model in policy.models and action in ACTIONS:
        findings.error(
            codes.AMBIGUOUS_NAME,
            ("models", model),
            f"{quoted(model)} makes the trust domain {quoted(policy.trust_domain)} one of its permissions",
            "Give the model another name: every token would hold that permission.",
        )


def _check_dns_names(policy: Policy, findings: Findings) -> None:
    """A guard is known by its version's DNS name, so no two may share one."""
    seen: dict[tuple[str, str], str] = {}
    for name, model in policy.models.items():
        for version in model.versions:
            owner = f"{name}.{version}"
            path = ("models", name, "versions", version)
            first = seen.setdefault((dns_label(version), dns_label(name)), owner)
            if first != owner:
                findings.error(
                    codes.SAME_DNS_NAME,
                    path,
                    f"has the same DNS name as {quoted(first)}",
                    "Give it another name.",
                )


def _check_upstreams(policy: Policy, findings: Findings) -> None:
    for name, model in policy.models.items():
        for version, body in model.versions.items():
            path = ("models", name, "versions", version)
            seen = {server_key(body.url)}
            for index, url in enumerate(body.replicas):
                if server_key(url) in seen:
                    message, remedy = f"lists {quoted(str(url))} a second time", "List each server once."
                    findings.error(codes.SERVER_TWICE, (*path, "replicas", index), message, remedy)
                seen.add(server_key(url))
            _check_secrecy(body, path, findings)
            _check_said(policy, body, path, findings)
        called = [body.model for body in model.versions.values() if body.model is not None]
        remedy = "Start their servers with shorter names."
        _check_room(called, "have a `model` each, of", ("models", name, "versions"), remedy, findings)


def _check_said(policy: Policy, version: Version, path: tuple[str, ...], findings: Findings) -> None:
    kind = policy.servers.get(version.server)
    if version.model is not None and kind is not None and kind.body_model == "ignores":
        message = f"is never said: bodies to a {quoted(version.server)} are not looked at"
        remedy = "Take it out, or the kind's `body_model: ignores`."
        findings.error(codes.EMPTY_PART, (*path, "model"), message, remedy)
    if version.model is not None:
        _check_length(version.model, (*path, "model"), findings)


def _check_secrecy(version: Version, path: tuple[str, ...], findings: Findings) -> None:
    clear = [url for url in (version.url, *version.replicas) if crosses_in_clear(url)]
    if version.credential is not None and clear:
        message = f"is sent to {quoted(str(clear[0]))} without TLS"
        remedy = "Put the server on this machine, or let nobody else read that network."
        findings.lint(codes.SECRET_IN_CLEAR, (*path, "credential"), message, remedy)


def _check_sealing(policy: Policy, findings: Findings) -> None:
    if policy.audit.seal_to:
        return
    remedy = "Name an auditor's public key under `audit: {seal_to: [...]}`."
    if policy.audit.capture == "sealed":
        findings.error(
            codes.SEALED_FOR_NOBODY, ("audit", "capture"), "is `sealed`, and nobody could open it", remedy
        )
    for name, model in policy.models.items():
        if model.audit.capture == "sealed":
            path = ("models", name, "audit", "capture")
            findings.error(codes.SEALED_FOR_NOBODY, path, "is `sealed`, and nobody could open it", remedy)
