"""A request as the rules see it, behind what vouched for its token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshward.align.istio.evaluate import Facts
from meshward.align.istio.matchers import JWT_FILTER, PAYLOAD
from meshward.align.istio.providers import Provider
from meshward.align.istio.request import Request, TokenText
from meshward.align.istio.tokens import Verdict, claims_seen


def facts(request: Request, path: str, verdict: Verdict | None = None) -> Facts:
    """`path` as it is normalised; `verdict` of the filter that checks tokens, None in front of it."""
    claims = claims_seen(verdict) if verdict else {}
    return Facts(
        path=path,
        headers=_headers(request, path, verdict),
        principal=request.client.spiffe_id if request.client.tls else None,
        metadata={JWT_FILTER: {PAYLOAD: claims}} if verdict and verdict.token else {},
        port=request.port,
        source_ip=request.source_ip,
        remote_ip=request.remote_ip,
        destination_ip=request.destination_ip,
        sni=request.sni,
    )


def _headers(request: Request, path: str, verdict: Verdict | None) -> dict[str, str | None]:
    """What a provider sets is its own, whatever a client sent under that name."""
    headers: dict[str, str | None] = {":method": request.method, ":path": path, ":authority": request.host}
    for name, values in request.headers.items():
        headers[name] = ",".join(
            value if isinstance(value, str) else f"{value.before}(token)" for value in values
        )
    for provider in verdict.asked if verdict else ():
        for name in (provider.payload_header, *(name for name, _ in provider.claim_headers)):
            headers.pop(name, None)
    if verdict and verdict.token and verdict.provider:
        _vouched(headers, request, verdict.token.claims, verdict.provider)
    return headers


def _vouched(
    headers: dict[str, str | None], request: Request, claims: Mapping[str, Any], provider: Provider
) -> None:
    if provider.payload_header:
        headers[provider.payload_header] = "(claims)"
    for name, claim in provider.claim_headers:
        value = claims.get(claim)
        if isinstance(value, str | bool | int) and value != "":
            headers[name] = str(value).lower() if isinstance(value, bool) else str(value)
    if not provider.forward:
        for name, _ in provider.headers:
            if any(isinstance(value, TokenText) for value in request.headers.get(name, ())):
                headers.pop(name, None)
