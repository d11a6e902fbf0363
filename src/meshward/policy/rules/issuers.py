"""What each issuer profile needs, and that no two issuers speak with one voice."""

from __future__ import annotations

import re

from meshward.kit import codes
from meshward.kit.text import quoted
from meshward.policy.grammar import Unreadable, parse_pointer
from meshward.policy.rules.findings import Findings
from meshward.policy.rules.references import SHARED
from meshward.policy.schema import Issuer, Policy, Profile
from meshward.policy.urls import Url, is_forbidden_host, is_loopback

_NEEDED: dict[Profile, tuple[str, ...]] = {
    "cognito": ("region", "user_pool", "clients"),
    "github-actions": ("audience",),
}
_USUAL = ("issuer", "audience")
_GUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FORMS: dict[Profile, tuple[str, str, str]] = {
    "okta": (
        "https?://[^/]+/oauth2/[A-Za-z0-9]+",
        "is Okta's org server, whose access tokens only Okta can verify",
        "Name a custom authorization server, e.g. `https://example.okta.com/oauth2/default`.",
    ),
    "entra": (
        f"https?://[^/]+/{_GUID}(/v2\\.0|/)",
        "is not the issuer of one Entra tenant",
        "Write `https://login.microsoftonline.com/<tenant id>/v2.0`, or `https://sts.windows.net/<tenant id>/` for v1.",
    ),
}
_COGNITO = ("region", "user_pool")
# `workload:<name>` is how a workload is called in records: no issuer may begin a name so.
_TAKEN = "workload"


def check_issuers(policy: Policy, findings: Findings) -> None:
    seen: dict[str, str] = {}
    for name, issuer in policy.issuers.items():
        path = ("issuers", name)
        if name == _TAKEN:
            findings.error(
                codes.NAME_TAKEN, path, "has a name that means workloads in records", "Give it another name."
            )
        _check_fields(issuer, path, findings)
        _check_urls(issuer, path, findings)
        _check_attributes(issuer, path, findings)
        if issuer.iss is not None and seen.setdefault(issuer.iss, name) != name:
            message = f"has the same `iss` as {quoted(seen[issuer.iss])}, {quoted(issuer.iss)}"
            findings.error(
                codes.AMBIGUOUS_NAME, path, message, "Keep one of them; a list of audiences may stand there."
            )


def _check_fields(issuer: Issuer, path: tuple[str, ...], findings: Findings) -> None:
    for key in _NEEDED.get(issuer.profile, _USUAL):
        if not getattr(issuer, key):
            message = f"lacks {quoted(key)}, which the profile {quoted(issuer.profile)} needs"
            findings.error(codes.ISSUER_KEY_MISFIT, path, message, f"Add {quoted(key + ':')}.")
    for key in ("issuer",) if issuer.profile == "cognito" else _COGNITO:
        if getattr(issuer, key) is not None:
            message = f"means nothing to the profile {quoted(issuer.profile)}"
            findings.error(codes.ISSUER_KEY_MISFIT, (*path, key), message, "Take it out.")
    pool, region = issuer.user_pool, issuer.region
    if issuer.profile == "cognito" and pool and region and not pool.startswith(f"{region}_"):
        message = f"is not a pool of the region {quoted(region)}"
        findings.error(
            codes.ISSUER_KEY_MISFIT, (*path, "user_pool"), message, "A pool's id begins with its region."
        )


def _check_urls(issuer: Issuer, path: tuple[str, ...], findings: Findings) -> None:
    if issuer.issuer is not None:
        _check_url(issuer.issuer, issuer, (*path, "issuer"), findings)
        form, message, remedy = _FORMS.get(issuer.profile, (".*", "", ""))
        if not re.fullmatch(form, str(issuer.issuer)):
            findings.error(codes.MALFORMED_VALUE, (*path, "issuer"), message, remedy)
    if issuer.jwks.url is not None:
        _check_url(issuer.jwks.url, issuer, (*path, "jwks", "url"), findings)
    if issuer.jwks.url is not None and issuer.jwks.file is not None:
        findings.error(
            codes.ISSUER_KEY_MISFIT, (*path, "jwks"), "has both `url` and `file`", "Keep one of them."
        )


def _check_url(url: Url, issuer: Issuer, path: tuple[str, ...], findings: Findings) -> None:
    if is_forbidden_host(url.host):
        findings.error(
            codes.MALFORMED_VALUE, path, "is a link-local or metadata address", "Name the issuer's own host."
        )
    elif url.scheme == "http" and not (is_loopback(url.host) and "http" in issuer.jwks.allow):
        remedy = "Write `https`; `http` is for this machine alone, with `jwks: {allow: [http]}`."
        findings.error(codes.MALFORMED_VALUE, path, "has no TLS", remedy)
    elif _is_private(url) and "private" not in issuer.jwks.allow:
        remedy = "Add `jwks: {allow: [private]}` if that is meant."
        findings.error(codes.MALFORMED_VALUE, path, "is a private address", remedy)


def _is_private(url: Url) -> bool:
    return url.address is not None and not url.address.is_global and not is_loopback(url.host)


def _check_attributes(issuer: Issuer, path: tuple[str, ...], findings: Findings) -> None:
    for name, source in issuer.attributes.items():
        place = (*path, "attributes", name)
        if name in SHARED:
            findings.error(
                codes.NAME_TAKEN,
                place,
                "has a name that `per` and `share` use otherwise",
                "Give it another name.",
            )
        if source.startswith("/"):
            try:
                parse_pointer(source)
            except Unreadable as error:
                findings.error(
                    codes.MALFORMED_VALUE, place, f"is wrong: {error.cause}", f"{error.remedy.capitalize()}."
                )
