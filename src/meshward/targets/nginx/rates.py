"""How nginx spells a rate: requests per second or per minute. It counts nothing longer."""

from __future__ import annotations

from meshward.policy.values import Rate

_UNITS = {1: "s", 60: "m"}


def counts(rate: Rate) -> bool:
    """Whether nginx can count it; what is per hour or day is a ledger's work."""
    return rate.seconds in _UNITS


def nginx_rate(rate: Rate) -> str:
    """`10r/s` or `600r/m`. Raises ValueError for a rate that nginx cannot count."""
    if not counts(rate):
        raise ValueError(f"nginx counts per second or minute, not per {rate.seconds} s")
    return f"{rate.count}r/{_UNITS[rate.seconds]}"
