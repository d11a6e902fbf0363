"""The real `oidc-provider` as a process, and a person with a browser that has no screen."""

from __future__ import annotations

import html
import json
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2

HERE = Path(__file__).parent
CLIENT, AUDIENCE = "cli", "models"
BATCH = ("batch", "batch-secret-for-tests")
INSTALLED = HERE / "node_modules" / "oidc-provider" / "package.json"


def installed() -> Path | None:
    """Where it is; None without node or without the package."""
    return INSTALLED if shutil.which("node") and INSTALLED.is_file() else None


class OidcProvider:
    """`full` has everything, `browser` no device flow, `opaque` gives opaque access tokens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        issuers = self._events.get(timeout=120)
        self.full, self.browser, self.opaque = issuers["full"], issuers["browser"], issuers["opaque"]

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):  # the package says what it thinks of our configuration
                self._events.put(json.loads(line))

    def rotate(self) -> str:
        """The `kid` that the full issuer signs with from now on."""
        assert self._process.stdin
        self._process.stdin.write("rotate\n")
        self._process.stdin.flush()
        while (event := self._events.get(timeout=60))["event"] != "rotated":
            pass
        return str(event["kid"])

    def events(self) -> list[str]:
        """What happened since the last call: the type of each grant, and `revoked`."""
        assert self._process.stdin
        self._process.stdin.write("mark\n")
        self._process.stdin.flush()
        found = []
        while (event := self._events.get(timeout=60))["event"] != "mark":
            found.append(event.get("grant") or event["event"])
        return found


@contextmanager
def running() -> Iterator[OidcProvider]:
    process = subprocess.Popen(
        ["node", "server.mjs"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield OidcProvider(process)
    finally:
        process.kill()
        process.wait(60)


class Person:
    """Clicks through the issuer's pages. Raises AssertionError where one is not what it should be."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._http = httpx2.Client(trust_env=False, timeout=60)

    def device(self, page: str, code: str, *, answer: str = "confirm") -> str:
        """Enter a device's code, sign in, agree (or `abort`); the last page's text."""
        form = self._form(self._http.get(page))
        shown = self._follow(self._http.post(page, data={**form, "user_code": code}))
        form = self._form(shown)
        return self._sign_in(self._http.post(page, data={**form, "user_code": code, answer: "yes"}))

    def browser(self, url: str, *, agree: bool = True) -> str:
        """Open the sign-in page and go where it leads; the page on which the login's own redirect ends."""
        return self._sign_in(self._http.get(url), agree=agree)

    def _sign_in(self, response: httpx2.Response, *, agree: bool = True) -> str:
        response = self._follow(response)
        for _ in range(4):
            form = self._form(response)
            if "prompt" not in form:
                return response.text
            if not agree:
                (abort,) = re.findall(r'href="([^"]*/abort)"', response.text)
                response = self._follow(self._http.get(urljoin(str(response.url), html.unescape(abort))))
                continue
            if form["prompt"] == "login":
                form |= {"login": self._name, "password": "any"}
            (action,) = re.findall(r'action="([^"]+)"', response.text)
            response = self._follow(
                self._http.post(urljoin(str(response.url), html.unescape(action)), data=form)
            )
        raise AssertionError(response.text)

    def _follow(self, response: httpx2.Response) -> httpx2.Response:
        while response.is_redirect:
            response = self._http.get(urljoin(str(response.url), response.headers["location"]))
        return response

    @staticmethod
    def _form(response: httpx2.Response) -> dict[str, str]:
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', response.text))
