"""A keep of the test's own, and a terminal that a person reads by program."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from meshward.login.store import LoginStore
from meshward.login.terminal import Terminal
from meshward.testing.waiting import DEADLINE
from tests.oidc_provider.running import OidcProvider


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever verifies a token here waits for the issuer's keys as long as a busy machine takes."""
    monkeypatch.setattr("meshward.oidc.keys.PATIENCE", DEADLINE)
    monkeypatch.setattr("meshward.oidc.fetch.MAX_SECONDS", DEADLINE)


@pytest.fixture
def keep(tmp_path: Path) -> LoginStore:
    return LoginStore(tmp_path / "keep")


class Screen:
    """Collects what is told. `react` is called with each line, in a thread of its own, as a person would."""

    def __init__(self, react: Callable[[str], Any] = lambda _: None) -> None:
        self.lines: list[str] = []
        self.pauses: list[float] = []
        self.now = 0.0
        self._react = react
        self._reactions: list[threading.Thread] = []
        self.failures: list[BaseException] = []

    def tell(self, line: str) -> None:
        self.lines.append(line)
        reaction = threading.Thread(target=self._do, args=(line,))
        self._reactions.append(reaction)
        reaction.start()

    def _do(self, line: str) -> None:
        try:
            self._react(line)
        except BaseException as error:
            self.failures.append(error)

    def pause(self, seconds: float) -> None:
        """No time passes but in the numbers: the person's reactions are waited for in its place."""
        self.pauses.append(seconds)
        self.now += seconds
        for reaction in self._reactions:
            reaction.join(60)

    def terminal(self, browse: Callable[[str], bool] = lambda _: False) -> Terminal:
        return Terminal(self.tell, browse, lambda _: nullcontext(), self.pause, lambda: self.now)

    def found(self, pattern: str) -> str:
        (found,) = {match[1] for line in self.lines if (match := re.search(pattern, line))}
        return found


@pytest.fixture(scope="module")
def provider(oidc_provider: OidcProvider) -> Iterator[OidcProvider]:
    oidc_provider.events()
    yield oidc_provider
