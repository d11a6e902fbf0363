"""The device flow (RFC 8628): the person signs in with any browser, on any machine.

1. ask the issuer for a code,
2. show it to the person, with where to type it,
3. ask for the tokens, as often as the issuer allows, until the person has answered or the code is over.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.login.provider import Provider
from meshward.login.terminal import Terminal
from meshward.login.tokens import Tokens, read_tokens, useless_tokens_error
from meshward.login.wire import Wire, WireReply, check_url, printable

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_INTERVAL = 5  # seconds, where the issuer names none; also what `slow_down` adds (3.2, 3.5)
_LONGEST = 1800  # seconds that a code may be waited for


@dataclass(frozen=True, slots=True)
class DeviceCode:
    device: Secret
    user: str
    page: str
    page_with_code: str | None
    lasts: int
    interval: int


def sign_in(wire: Wire, provider: Provider, client: str, scope: str, terminal: Terminal) -> Tokens:
    """Raises MeshwardError: MW2107 for a useless answer, MW2108 if the person or the issuer refuses."""
    assert provider.device is not None  # noqa: S101  the caller looked
    code = _code(wire.post(provider.device, {"client_id": client, "scope": scope}))
    _show(code, terminal)
    form = {"grant_type": GRANT, "device_code": code.device.reveal(), "client_id": client}
    with terminal.waiting(f"waiting for you to sign in (at most {-(-code.lasts // 60)} min; Ctrl-C stops)"):
        return _poll(wire, provider, form, code, terminal)


def _code(reply: WireReply) -> DeviceCode:
    """Step 1's answer."""
    device, user, page = reply.text("device_code"), reply.text("user_code"), reply.text("verification_uri")
    if reply.status != 200 or device is None or user is None or page is None:
        raise useless_tokens_error(f"it gives no device code: {reply.error_text()}")
    whole = reply.text("verification_uri_complete")
    return DeviceCode(
        device=Secret(device),
        user=printable(user),
        page=str(check_url(page)),
        page_with_code=None if whole is None else str(check_url(whole)),
        lasts=min(_seconds(reply, "expires_in", _LONGEST), _LONGEST),
        interval=_seconds(reply, "interval", _INTERVAL),
    )


def _show(code: DeviceCode, terminal: Terminal) -> None:
    """Step 2. The code is told even where the page knows it: the person compares them (5.4)."""
    opened = terminal.browse(code.page_with_code or code.page)
    where = "Your browser opens" if opened else "With any browser, on any machine, open"
    terminal.tell(f"{where}  {code.page}")
    terminal.tell(f"and enter the code  {code.user}")


def _poll(
    wire: Wire, provider: Provider, form: dict[str, str], code: DeviceCode, terminal: Terminal
) -> Tokens:
    """Step 3."""
    end, interval = terminal.clock() + code.lasts, code.interval
    while terminal.clock() + interval <= end:
        terminal.pause(interval)
        reply = _patiently(wire, provider.token, form)
        if reply is None or reply.text("error") == "slow_down":
            interval += _INTERVAL
        elif reply.text("error") != "authorization_pending":
            return _final(reply)
    raise _expired_error()


def _patiently(wire: Wire, url: str, form: dict[str, str]) -> WireReply | None:
    """None for an issuer that is out of reach just now: it is asked again, less often (3.5)."""
    try:
        return wire.post(url, form)
    except MeshwardError as error:
        if error.code != codes.NO_GOOD_ANSWER:
            raise
        return None


def _final(reply: WireReply) -> Tokens:
    match reply.text("error"):
        case "access_denied":
            raise refusal_error("the sign-in was refused on the issuer's page")
        case "expired_token":
            raise _expired_error()
        case _:
            return read_tokens(reply)


def refusal_error(what: str) -> MeshwardError:
    return MeshwardError(codes.SIGN_IN_REFUSED, what)


def _expired_error() -> MeshwardError:
    return refusal_error("the time to sign in is over")


def _seconds(reply: WireReply, name: str, otherwise: int) -> int:
    value = reply.body.get(name)
    return value if type(value) is int and value > 0 else otherwise
