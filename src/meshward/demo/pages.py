"""The demo identity provider's pages. Each says first that this is not for production."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from starlette.responses import HTMLResponse

from meshward.demo.accounts import PEOPLE

WARNING = "Demo identity provider: not for production."
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem}"
    "header{background:#8a1c1c;color:#fff;padding:.5rem 1rem}"
    "label{display:block;margin:1rem 0}input,select,button{font:inherit;padding:.3rem .6rem}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """A page of the demo. `body` is HTML; what came from outside must be escaped in it already."""
    html = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><header>{WARNING}</header><h1>{escape(title)}</h1>{body}</html>"
    )
    return HTMLResponse(html, status, headers=_HEADERS)


def home() -> HTMLResponse:
    return page(
        "meshward demo sign-in", '<p>Your program gave you a code? <a href="/device">Enter it.</a></p>'
    )


def device_form(user_code: str, problem: str = "", status: int = 200) -> HTMLResponse:
    """Where a person enters the code that a device shows, and who they are."""
    people = "".join(f"<option>{escape(name)}</option>" for name in PEOPLE)
    return page(
        "Sign a device in",
        f"<p><strong>{escape(problem)}</strong></p>"
        '<form method="post" action="/device">'
        f'<label>Code on the device <input name="user_code" required value="{escape(user_code)}"></label>'
        f'<label>Account <select name="account">{people}</select></label>'
        '<label>Password <input name="password" type="password" autocomplete="off"></label>'
        "<p>The passwords are in <code>demo/accounts.json</code> of the demo's state directory.</p>"
        '<button name="decision" value="approve">Sign in</button> '
        '<button name="decision" value="deny">It was not me</button></form>',
        status,
    )
