"""What a login needs of the person's terminal, so that tests can be one."""

from __future__ import annotations

import sys
import time
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from meshward.kit.clock import Clock


@dataclass(frozen=True)
class Terminal:
    """`tell` says a line, `browse` opens a URL if it can, `waiting` shows that something is waited for."""

    tell: Callable[[str], None]
    browse: Callable[[str], bool]
    waiting: Callable[[str], AbstractContextManager[object]]
    pause: Callable[[float], None] = time.sleep
    clock: Clock = time.monotonic


def browse(url: str) -> bool:
    """Open `url` in a browser with a window of its own."""
    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False


def has_browser(env: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a browser would open where the person sits: not over ssh, and not in the terminal itself."""
    if "SSH_CONNECTION" in env or "SSH_TTY" in env:
        return False
    return platform in ("darwin", "win32") or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))
