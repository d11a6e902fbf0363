"""The control API: operators ask over HTTPS what other commands ask over STATE/control.sock, in the same words.

nginx passes `POST /.meshward/control` to RUN/control/control.sock, which its group alone may open. What is read here of
a request are the headers that nginx sets, and the body.

1. What a browser could send on its own is refused: another type than JSON, or a page's `Origin`.
2. Who asks: a bearer token, verified as for a model. A workload's certificate is no operator's.
3. Have they any operator's right? If not, that is all they learn; time and again, not even that, until the next second.
4. At most `MOST` are answered at the same time, `MOST_OF_ONE` of one operator's.
5. The body is one strict JSON object; `ask.answer` does the rest, in a thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import structlog
import uvicorn

from meshward.apply.issuer_keys import save_issuer_keys
from meshward.apply.live_revision import origin
from meshward.control.ask import answer_or_refusal
from meshward.control.operators import Operator, OperatorVerifier, TooManyUnproven
from meshward.control.replies import ToldRefusal, encode
from meshward.control.verbs.request import Asker, Controlled, Reply
from meshward.edge import answers
from meshward.edge.replies import Fault, Headers, Refused
from meshward.edge.serve import behind_nginx, listen_at
from meshward.edge.service import NoBearer, bearer_of
from meshward.edge.whoami import refusal_response
from meshward.kit import codes
from meshward.kit.canonical import canonical_json
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.kit.strict import json_object
from meshward.kit.wellknown import CONTROL, CONTROL_BODY
from meshward.oidc.kept_keys import KeptKeys
from meshward.oidc.refusal import KeysUnavailable, TokenRefused
from meshward.targets.nginx.wire import Header

MOST = 4
"""Requests of operators that are answered at the same time."""
MOST_OF_ONE = 2
"""Of these, one operator's: nobody keeps the others from revoking them."""
_STATUS = {Exit.USAGE: 400, Exit.CONFLICT: 409, Exit.UNSAFE: 422, Exit.FAULT: 500, Exit.HOP_REFUSED: 502}
_JSON = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Response = tuple[int, Headers, bytes]

log = structlog.get_logger(__name__)


class _RefusedRequest(Exception):
    """Nothing is done. `reply` is what nginx would be told of a request to a model."""

    def __init__(self, reply: Refused | Fault) -> None:
        super().__init__(reply.reason)
        self.reply = reply


class ControlApi:
    """The ASGI application. Lives in the supervisor's loop, and never blocks it."""

    def __init__(self, instance: Controlled, keep: Callable[[KeptKeys], None] = lambda _: None) -> None:
        self._instance = instance
        self._mesh = instance.mesh
        self._operators = OperatorVerifier(self._mesh, keep)
        self._threads = ThreadPoolExecutor(MOST + 2, "control")  # not those that answer on this machine
        self._answering = Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("only http is served")
        status, headers, body = await self._reply(scope, receive)
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})

    def close(self) -> None:
        self._operators.close()
        self._threads.shutdown(wait=False)

    async def _reply(self, scope: Scope, receive: Receive) -> Response:
        headers, body = dict(scope["headers"]), _RequestBody(receive)
        try:
            if (scope["method"], scope["path"]) != ("POST", CONTROL):
                raise _plainly(404, Reason.ROUTE_UNKNOWN, "Nothing is served here.")
            _require_program(headers)  # 1
            operator = await self._operator(headers)  # 2, 3
            with self._place(operator, headers):  # 4
                return await self._answer(await body.read(), operator, headers)  # 5
        except _RefusedRequest as refusal:
            await body.drain()
            return refusal_response(
                refusal.reply, headers.get(Header.RID.raw, b"").decode("ascii", "replace")
            )

    async def _operator(self, headers: dict[bytes, bytes]) -> Operator:
        """Raises _RefusedRequest."""
        resource = origin(self._mesh.live.plan)
        if headers.get(Header.VERIFY.raw, b"NONE") != b"NONE":
            why = "A workload's certificate is no operator's. Send a person's or a pipeline's token, and nothing else."
            raise _RefusedRequest(answers.forbidden_reply(Reason.WORKLOAD_REFUSED, why, resource))
        try:
            given = headers.get(Header.AUTHORIZATION.raw, b"").decode("ascii")
            operator = await self._operators.verify(bearer_of(Secret(given) if given else None))
            self._require_patience(operator, headers)
            self._instance.meet(operator.identity.name)
            await self._in_thread(lambda: self._admit(operator, headers))
        except (NoBearer, TokenRefused) as refusal:
            known = isinstance(refusal, TokenRefused)
            hint = "" if known else f" Send Authorization: Bearer and a token from {self._operators.expected}"
            text = f"{refusal.sentence}{hint}"
            raise _RefusedRequest(
                answers.unauthenticated_reply(refusal.reason, text, resource, error=known)
            ) from None
        except TooManyUnproven:
            why = "Too many tokens are being verified just now. Try again in a second."
            raise _plainly(503, Reason.TOO_MANY_CHANGES, why) from None
        except UnicodeDecodeError:
            why = "The Authorization header is not printable ASCII. Send Bearer and a token."
            raise _RefusedRequest(
                answers.unauthenticated_reply(Reason.TOKEN_MALFORMED, why, resource, error=True)
            ) from None
        except KeysUnavailable:
            raise _RefusedRequest(answers.keys_unavailable_reply()) from None
        except MeshwardError as error:
            raise _RefusedRequest(_denial_reply(ToldRefusal.of(error), resource)) from None
        return operator

    def _require_patience(self, operator: Operator, headers: dict[bytes, bytes]) -> None:
        """Raises _RefusedRequest, at once: it is only counted."""
        name, changes = operator.identity.name, self._mesh.changes
        if changes.refused_too_often(name):
            changes.note_refusal(name, "ask", codes.REFUSED_TOO_OFTEN, _came(operator, headers))
            why = f"{name} was refused too often in this second. Wait, then try again."
            raise _plainly(429, Reason.TOO_MANY_REFUSALS, why)

    def _admit(self, operator: Operator, headers: dict[bytes, bytes]) -> None:
        """Raises MeshwardError for who is known, and no operator; that is written down."""
        try:
            operator.may(None)
        except MeshwardError as error:
            self._mesh.changes.note_refusal(
                operator.identity.name, "ask", error.code, _came(operator, headers)
            )
            raise

    @contextmanager
    def _place(self, operator: Operator, headers: dict[bytes, bytes]) -> Iterator[None]:
        name, note = operator.identity.name, self._mesh.changes.note_refusal
        if self._answering.total() >= MOST or self._answering[name] >= MOST_OF_ONE:
            self._threads.submit(note, name, "ask", codes.TOO_MANY_ASKS, _came(operator, headers))
            why = "Too many operators' requests, or yours, are under way. Try again when one of them is done."
            raise _plainly(503, Reason.TOO_MANY_CHANGES, why)
        self._answering[name] += 1
        try:
            yield
        finally:
            self._answering[name] -= 1

    async def _answer(self, body: bytes, operator: Operator, headers: dict[bytes, bytes]) -> Response:
        asker = Asker(
            operator.identity.name,
            lambda _: None,
            here=False,
            may=operator.may,
            facts=_came(operator, headers),
        )
        answer = await self._in_thread(lambda: answer_or_refusal(_read(body), asker, self._instance))
        if isinstance(answer, ToldRefusal) and answer.exit == Exit.DENIED:
            raise _RefusedRequest(_denial_reply(answer, origin(self._mesh.live.plan)))
        return _status(answer), _JSON, canonical_json(encode(answer)).encode()

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


@asynccontextmanager
async def open_to_operators(instance: Controlled) -> AsyncIterator[None]:
    """Answer on RUN/control/control.sock while inside; the edge's group may connect."""
    machine = instance.mesh.machine
    api = ControlApi(instance, partial(save_issuer_keys, machine))
    with listen_at(machine.run.control_socket, machine.edge.gid) as listener:
        server = _Server(behind_nginx(api))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        serving.add_done_callback(_not_silently)
        try:
            yield
        finally:
            server.should_exit = True
            await asyncio.wait([serving])
            api.close()
            machine.run.control_socket.unlink(missing_ok=True)


def _not_silently(serving: asyncio.Task[None]) -> None:
    """What ends the service is logged: operators would only see that nobody answers."""
    if not serving.cancelled() and (fault := serving.exception()) is not None:
        log.error("control_service_fault", exc_info=fault)


class _Server(uvicorn.Server):
    """Signals are the supervisor's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _require_program(headers: dict[bytes, bytes]) -> None:
    """Step 1: a page in an operator's browser must not be able to ask. Raises _RefusedRequest."""
    if headers.get(Header.ORIGIN.raw):
        raise _plainly(403, Reason.BROWSER_REFUSED, "Pages cannot ask for changes: send no Origin.")
    if headers.get(b"content-type") != b"application/json":
        raise _plainly(415, Reason.NOT_JSON, "Send Content-Type: application/json.")


def _came(operator: Operator, headers: dict[bytes, bytes]) -> dict[str, str]:
    """How they came, for the audit: from which address, and by which token."""
    return {"from": headers.get(Header.ADDR.raw, b"").decode("ascii", "replace"), **operator.token.proof}


def _read(body: bytes) -> dict[str, Any]:
    """What is no JSON object asks for nothing that there is."""
    try:
        return json_object(body)
    except ValueError:
        return {}


class _RequestBody:
    """A request's body. Read to its end even if nobody wants it: a socket closed before could take the answer along."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def read(self) -> bytes:
        """Raises _RefusedRequest for one that is larger than nginx lets pass."""
        body = bytearray()
        while self._more:
            body += await self._next()
            if len(body) > CONTROL_BODY:
                raise _plainly(
                    413, Reason.BODY_TOO_LARGE, f"A request to change has at most {CONTROL_BODY} bytes."
                )
        return bytes(body)

    async def drain(self) -> None:
        while self._more:
            await self._next()

    async def _next(self) -> bytes:
        message = await self._receive()
        self._more = message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


def _status(answer: Reply | ToldRefusal) -> int:
    if isinstance(answer, ToldRefusal):
        return 422 if answer.problems else _STATUS.get(answer.exit, 500)
    return 200


def _denial_reply(refusal: ToldRefusal, resource: str) -> Refused:
    text = answers.sentence(refusal.message, refusal.remedy)
    code = codes.decode(refusal.code)
    if code is codes.ASKER_REVOKED:
        return answers.unauthenticated_reply(Reason.REVOKED, text, resource, error=True)
    if code is codes.NO_RIGHT:
        return answers.forbidden_reply(Reason.NOT_AN_OPERATOR, text, resource)
    return Refused(409 if refusal.exit == Exit.CONFLICT else 503, Reason.TRY_AGAIN, text)


def _plainly(status: int, reason: Reason, message: str) -> _RefusedRequest:
    return _RefusedRequest(answers.refusal_reply(status, reason, message))
