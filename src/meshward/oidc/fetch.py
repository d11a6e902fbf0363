"""One small JSON document from an issuer, and no way for an issuer to send us anywhere else.

https (plain http only to loopback, and only if allowed), no redirects, no proxy or netrc from the
environment, no private address unless allowed and never a link-local one, at most 1 MB in at most 5 seconds.
The address that is checked is the one that is connected to, so a name that resolves differently a moment
later gains nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx2

from meshward.kit import codes
from meshward.kit.bounded import LONGEST_DOCUMENT, PLAIN, TooLongError, read_bounded_async
from meshward.kit.errors import MeshwardError

MAX_SECONDS = 5.0

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


class FetchFailed(MeshwardError):
    """A document that was not had, or not asked for. MW2003: not allowed; MW2004: not answered well."""


async def fetch(url: str, allow: frozenset[str], tls: ssl.SSLContext) -> bytes:
    """The body at `url`. `allow` holds of "http" and "private" what is allowed. Raises FetchFailed."""
    try:
        async with asyncio.timeout(MAX_SECONDS):
            target = _parse(url, allow)
            return await _from_any(target, await _addresses(target, allow), tls)
    except TimeoutError:
        raise FetchFailed(
            codes.FETCH_FAILED, f"`{url}` did not answer in {MAX_SECONDS:.0f} s", _LOOK
        ) from None
    except (httpx2.HTTPError, OSError) as error:
        raise FetchFailed(
            codes.FETCH_FAILED, f"`{url}` could not be read ({type(error).__name__})", _LOOK
        ) from error


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether `address` is on the public Internet, and not by a way that hides an IPv4 address."""
    return address.is_global and not address.is_multicast and not _is_disguised(address)


def _parse(url: str, allow: frozenset[str]) -> httpx2.URL:
    try:
        target = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise FetchFailed(codes.FETCH_NOT_ALLOWED, f"`{url}` is not a URL", "Give an https URL.") from None
    if target.scheme not in ("https", "http") or not target.host or target.userinfo or target.fragment:
        raise FetchFailed(
            codes.FETCH_NOT_ALLOWED,
            f"`{url}` is not a plain https URL",
            "Give one without user and fragment.",
        )
    if target.scheme == "http" and "http" not in allow:
        raise FetchFailed(
            codes.FETCH_NOT_ALLOWED,
            f"`{url}` is not https",
            "Use https, or `jwks: {allow: [http]}` for loopback.",
        )
    return target


async def _addresses(target: httpx2.URL, allow: frozenset[str]) -> list[str]:
    """Every address of the host; one that may not be asked refuses them all."""
    port = target.port or (443 if target.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(target.host, port, type=1)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in map(ip_address, addresses):
        if target.scheme == "http" and not address.is_loopback:
            raise FetchFailed(
                codes.FETCH_NOT_ALLOWED, f"plain http to `{target.host}` is not loopback", "Use https."
            )
        if target.scheme == "https" and not (is_public(address) or _is_allowed(address, allow)):
            raise FetchFailed(
                codes.FETCH_NOT_ALLOWED,
                f"`{target.host}` has a private address",
                "Allow it: `jwks: {allow: [private]}`.",
            )
    return addresses


def _is_disguised(address: IPv4Address | IPv6Address) -> bool:
    """IPv6 addresses that mean an IPv4 address: mapped ones, NAT64, 6to4 and Teredo. Nobody needs them."""
    if isinstance(address, IPv4Address):
        return False
    return bool(address.ipv4_mapped or address.sixtofour or address.teredo) or any(
        address in net for net in _NAT64
    )


def _is_allowed(address: IPv4Address | IPv6Address, allow: frozenset[str]) -> bool:
    """Private networks and loopback on request; link-local is where clouds keep their metadata service."""
    never = address.is_link_local or address.is_multicast or address.is_unspecified or _is_disguised(address)
    return "private" in allow and not never


async def _from_any(target: httpx2.URL, addresses: list[str], tls: ssl.SSLContext) -> bytes:
    """The first address that takes the connection answers."""
    async with httpx2.AsyncClient(
        verify=tls, trust_env=False, follow_redirects=False, timeout=MAX_SECONDS
    ) as client:
        for address in addresses[:-1]:
            try:
                return await _read(client, target, address)
            except httpx2.ConnectError:
                continue
        return await _read(client, target, addresses[-1])


async def _read(client: httpx2.AsyncClient, target: httpx2.URL, address: str) -> bytes:
    request = client.build_request(
        "GET",
        target.copy_with(host=address),
        headers={"Host": target.netloc.decode("ascii"), **PLAIN},
        extensions={"sni_hostname": target.host},
    )
    response = await client.send(request, stream=True)
    try:
        if response.status_code != 200 or "Content-Encoding" in response.headers:
            raise FetchFailed(
                codes.FETCH_FAILED, f"`{target}` answered {response.status_code}, not a plain document", _LOOK
            )
        return await read_bounded_async(response.aiter_raw())
    except TooLongError:
        raise FetchFailed(codes.FETCH_FAILED, f"`{target}` is over {LONGEST_DOCUMENT} bytes", _LOOK) from None
    finally:
        await response.aclose()


_LOOK = "Open the address from this machine, or give the right one with `jwks: {url: ...}`."
