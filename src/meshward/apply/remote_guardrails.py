"""What a policy says about this machine is said on this machine: an operator's right must not become more than that.

A program that is run, a file or a variable that is read, an address that only this machine and its network reach: from
afar a policy cannot come to name such a thing. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_network

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.policy.schema import Issuer, Jwks, Policy, Version
from meshward.policy.servers import GENERATED
from meshward.policy.urls import ServerUrl, UnixSocket, server_key
from meshward.policy.values import Address

_GLOBAL = ip_network("2000::/3")  # the rest of IPv6 is local, or holds an IPv4 address, which may be near
_WRAPPING = tuple(map(ip_network, ("2002::/16", "2001::/32")))  # so do these


IsOurs = Callable[[Address], bool]
"""Whether this machine itself has an address, which then may be a public one."""


def require_nothing_of_this_machine(old: Policy, new: Policy, is_ours: IsOurs, moves: bool = False) -> None:
    """Raises MeshwardError (MW3071, exit 4) where `new` names something of this machine that `old` does not.

    `moves`: another site comes with it, which names addresses.
    """
    found = [*named_here(old, new, is_ours), *(["the site"] if moves else [])]
    if found:
        raise MeshwardError(
            codes.NOT_FROM_AFAR,
            f"this names something of the machine that it runs on: {'; '.join(found)}",
            "Apply it on that machine: `meshward apply` without --edge.",
        )


def remote_value_error(name: str) -> MeshwardError:
    """The refusal of a secret's value that somebody sends from another machine."""
    return MeshwardError(
        codes.NOT_FROM_AFAR,
        f"the secret {name} is a variable of the machine that it is used on, and cannot be given from afar",
        "Run `meshward rotate credential` there, without --edge.",
    )


def named_here(old: Policy, new: Policy, is_ours: IsOurs) -> Iterator[str]:
    """Each such thing, as the key of the policy."""
    if new.credentials != old.credentials:
        yield "credentials"
    if new.edge.certificate != old.edge.certificate:
        yield "edge.certificate"
    if new.edge.listen != old.edge.listen:
        yield "edge.listen"
    if not set(new.audit.seal_to) <= set(old.audit.seal_to):
        yield "audit.seal_to"
    if new.audit.retention.value < old.audit.retention.value:
        yield "audit.retention"  # what is erased here is gone, and the right to erase is another than to apply
    for name, issuer in new.issuers.items():
        yield from (f"issuers.{name}.{key}" for key in _keys_place(old.issuers.get(name), issuer))
    yield from _servers(old, new, is_ours)


def _keys_place(old: Issuer | None, new: Issuer) -> Iterator[str]:
    """Where its keys are read. One that may be private, or in the clear, stays where it is."""
    before = old.jwks if old is not None else Jwks()
    if new.jwks.file != before.file:
        yield "jwks.file"
    if set(new.jwks.allow) != set(before.allow):
        yield "jwks.allow"
    elif new.jwks.allow and old is not None and (new.issuer, new.jwks.url) != (old.issuer, before.url):
        yield "jwks.url"


def _servers(old: Policy, new: Policy, is_ours: IsOurs) -> Iterator[str]:
    known = {server_key(url) for _, version in _versions(old) for url in _urls(version)}
    sent = {(_secret(*each), server_key(url)) for each in _versions(old) for url in _urls(each[1])}
    for place, version in _versions(new):
        secret = _secret(place, version)
        for url in _urls(version):
            if _is_near(url, is_ours) and server_key(url) not in known:
                yield f"{place}: {url}"
            elif secret is not None and (secret, server_key(url)) not in sent:
                yield f"{place}.credential: {version.credential} to {url}"


def _secret(place: str, version: Version) -> str | None:
    """A generated one is its version's own, and is kept: an older revision's server may still demand it."""
    return f"{GENERATED} for {place}" if version.credential == GENERATED else version.credential


def _versions(policy: Policy) -> Iterator[tuple[str, Version]]:
    for name, model in policy.models.items():
        yield from ((f"models.{name}.versions.{version}", each) for version, each in model.versions.items())


def _urls(version: Version) -> tuple[ServerUrl, ...]:
    return (version.url, *version.replicas)


def _is_near(url: ServerUrl, is_ours: IsOurs) -> bool:
    """Whether only this machine, or its network, reaches it; or nobody can tell.

    A name leads wherever its owner says. By https the server must prove it; in the clear it could be any service here.
    """
    if isinstance(url, UnixSocket):
        return True
    if url.address is not None:
        far = url.address.is_global and (url.address.version == 4 or url.address in _GLOBAL)
        return not far or is_ours(url.address) or any(url.address in network for network in _WRAPPING)
    host = url.host.lower().rstrip(".")
    return url.scheme == "http" or "." not in host or host.endswith((".localhost", ".local", ".internal"))
