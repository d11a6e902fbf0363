"""What every command tells the shell in one number."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command (docs/cli.md)."""

    OK = 0
    FAULT = 1
    USAGE = 2
    CONFLICT = 3
    UNSAFE = 4
    HOP_REFUSED = 5
    DENIED = 10
    FINDINGS = 11
