"""The stored login for one edge, as a program uses it: a token that is always fresh."""

from __future__ import annotations

import os
import ssl
import threading
from functools import cached_property
from pathlib import Path

import httpx2

from meshward.kit.clock import Clock, system_clock
from meshward.login.session import FRESH, choose, fresh_login
from meshward.login.store import LoginStore, SavedLogin, own_store
from meshward.login.wire import trust


class Account:
    """Raises MeshwardError, with what to do, where nobody is signed in or the login is over."""

    def __init__(
        self, edge: str | None = None, store: LoginStore | None = None, clock: Clock = system_clock
    ) -> None:
        self._store = store or own_store()
        self._clock = clock
        state = Path(os.environ.get("MESHWARD_STATE") or ".meshward")
        self.name = choose(self._store, edge, state, os.environ)
        self._login = fresh_login(self._store, self.name, clock)
        self._turn = threading.Lock()

    @property
    def is_fresh(self) -> bool:
        """Whether the next token needs neither a file nor the issuer."""
        return self._login.expires_at - self._clock() >= FRESH

    def token(self) -> str:
        with self._turn:
            if not self.is_fresh:
                self._login = fresh_login(self._store, self.name, self._clock)
            return self._login.token.reveal()

    def covers(self, url: httpx2.URL) -> bool:
        """Whether `url` is at this edge: nobody else is sent the token."""
        return url.copy_with(path="/", query=None, fragment=None) == httpx2.URL(self.name).join("/")

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Trusts what vouches for the edge."""
        login: SavedLogin = self._login
        return trust(None if login.root is None else Path(login.root))
