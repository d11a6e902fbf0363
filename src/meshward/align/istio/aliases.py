"""Trust domains that a mesh takes for its own: a caller that is named under one is a caller under each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_LOCAL = "cluster.local"


def expand_principals(principals: Iterable[str], domains: Sequence[str]) -> list[str]:
    """Each caller under all `domains` (the mesh's own first) where it is named under one, or under cluster.local."""
    found: list[str] = []
    for principal in principals:
        parts = principal.split("/")
        named = parts[0]
        if len(parts) != 5 or named == "*":
            found.append(principal)
        elif named == _LOCAL or any(_matches(named, domain) for domain in domains):
            under = [
                principal if _ends(domain, named) else "/".join([domain, *parts[1:]]) for domain in domains
            ]
            found += dict.fromkeys(under)
        else:
            found.append(principal)
    return found


def expand_domains(values: Iterable[str], domains: Sequence[str]) -> list[str]:
    """Trust domains with their aliases, none twice."""
    return list(
        dict.fromkeys(each for value in values for each in (domains if value in domains else (value,)))
    )


def _matches(named: str, domain: str) -> bool:
    either = _starts(named, domain) or _starts(domain, named) or _ends(named, domain) or _ends(domain, named)
    return named == domain or domain == "*" or either


def _starts(text: str, pattern: str) -> bool:
    return pattern.endswith("*") and text.startswith(pattern[:-1])


def _ends(text: str, pattern: str) -> bool:
    return pattern.startswith("*") and text.endswith(pattern[1:])
