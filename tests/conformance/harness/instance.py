"""A running instance as a harness: clients come to the real nginx, who is inside to the real Envoy of our guards."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from cryptography import x509

from meshward.apply.local_paths import LOCAL
from meshward.audit.records import Records
from meshward.kit.errors import Problem
from meshward.kit.reasons import Reason
from meshward.plan.coverage import find_unenforced
from meshward.plan.requirements import requirements
from meshward.policy.parse import to_json
from meshward.policy.schema import Policy
from meshward.spiffe.ca import Authority, load_or_create
from meshward.spiffe.certificates import CLIENT, SERVER, LeafCredential, make_leaf
from meshward.testing.stand_ins import StandIns, free_port
from meshward.testing.waiting import DEADLINE
from meshward.trace.story import wait_for
from tests.conformance.format import Certificate, Change, Client, Hop, Inside
from tests.conformance.harness import Answer, Features
from tests.conformance.harness.credentials import Minting, issuers_token, lines, transaction_token
from tests.conformance.suite import Asked
from tests.stack.asking import ask
from tests.stack.inside import Inside as Secrets
from tests.stack.running import Stack

_BY_EDGE = frozenset(
    {
        Reason.NOT_CANONICAL,
        Reason.BAD_REQUEST,
        Reason.METHOD_NOT_ALLOWED,
        Reason.BODY_TOO_LARGE,
        Reason.BODY_MODEL_MISSING,
        Reason.BODY_MODEL_OTHER,
        Reason.HOST_UNKNOWN,
        Reason.RATE_LIMITED,
    }
)
Line = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a client is answered: the status (None: no HTTP), the stable word for a refusal, the request's id."""

    status: int | None
    word: str | None
    rid: str = ""


class Instance:
    """One instance for all cases: each puts its policy in force, where that is another."""

    name: ClassVar[str] = "instance"
    features: ClassVar[Features] = Features(
        able=frozenset({"client", "inside", "address", "certificates", "change", "revoke", "limits"}),
        lacks={
            "clock": "real hops ask the machine's clock",
            "via": "no hop lets models call one another yet",
            "agent": "no agent gets a token yet",
        },
        traits=frozenset({"takes-any-type"}),
    )

    def __init__(self, stack: Stack, policy: Policy, directory: Path) -> None:
        self._stack, self._now, self._directory = stack, policy, directory
        self._strangers: dict[str, Authority] = {}
        self.rids: list[str] = []
        """The request ids of the last case's steps."""

    def paid(self, rid: str) -> str | None:
        """The grant that the record of `rid` names, once it is there."""
        with closing(Records(self._stack.state)) as records:
            told = wait_for(records, rid, DEADLINE)
        return None if told is None else told.records[0].facts.grant

    def refusals(self, asked: Asked) -> Sequence[Problem]:
        return [problem for policy in asked.policies.values() for problem in refusals(policy)]

    def run(self, asked: Asked) -> Sequence[Answer]:
        self._put_in_force(asked.policy)
        self.rids = []
        answers, changes = [], [step.before for step in asked.case.steps if step.before is not None]
        try:
            for step in asked.case.steps:
                if step.before is not None:
                    self._change(step.before, asked)
                answers.append(self._answer(step.request))
        finally:
            for change in changes:
                self._revoke(change, undo=True)
        return answers

    def _answer(self, request: Client | Inside) -> Answer:
        self._stack.taken()
        heard = self._client(request) if isinstance(request, Client) else self._inside(request)
        self.rids.append(heard.rid)
        arrived = [(version, each) for version, model in self._stack.models.items() for each in model.taken()]
        if not arrived:
            hop: Hop = _hop_of(heard.word) if isinstance(request, Client) else "guard"
            assert heard.status != 200, "answered, and not by the model"
            return Answer("deny", reason=heard.word, hop=hop, said=f"{heard.status} {heard.word}")
        (version, seen), *more = arrived
        assert not more, "one request, twice"
        headers = {name.lower(): value for name, value in seen.headers}
        return Answer(
            "permit",
            version=version.rpartition("/")[2],
            arrived=seen.target,
            sees=headers,
            said=str(heard.status),
        )

    def _client(self, request: Client) -> Heard:
        context = self._stack.tls()
        who = request.who
        issuer = self._stack.issuers[who.issuer if who and who.issuer else "staff"]
        with self._shown(request) as file:
            if file is not None:
                context.load_cert_chain(file)
            connection = http.client.HTTPSConnection(
                "127.0.0.1",
                self._stack.port,
                context=context,
                timeout=60,
                source_address=(request.source or "127.0.0.1", 0),
            )
        sent = [*lines(request.token, issuers_token(request, issuer), ("Authorization", "Bearer {token}"))]
        host = dict(request.headers).get("Host", self._stack.hostname)
        base = "" if request.model is None else f"/m/{request.model}"
        own = [("Host", f"{host}:{self._stack.port}")]
        headers = [*own, *sent, *(line for line in request.headers if line[0] != "Host")]
        return _exchange(connection, request.method, f"{base}{request.target}", headers, request.body)

    @contextmanager
    def _shown(self, request: Client) -> Iterator[Path | None]:
        """The file of the certificate that the client shows."""
        if request.who is None or request.who.workload is None:
            yield None
            return
        own = self._now.workloads[request.who.workload].id
        yield self._file(self._certificate(str(own), request.certificate))

    def _inside(self, request: Inside) -> Heard:
        secrets, peer = Secrets(self._stack), request.peer
        guard = next(each for each in self._stack.instance.guards if each.model == request.model)
        minting = Minting(
            f"https://{self._stack.hostname}",
            self._stack.instance.trust_domain,
            f"spiffe://{self._stack.instance.trust_domain}/edge",
            secrets.signing_key,
        )
        own = "/edge"
        if peer.workload is not None:
            own = str(self._now.workloads[peer.workload].id)
        if peer.model is not None:
            own = f"/model/{peer.model}"
        text = transaction_token(request.token, minting)
        headers = [("Host", guard.dns_name), ("X-Request-Id", "f" * 32), *request.headers]
        headers += lines(request.token, text, ("Txn-Token", "{token}")) if request.token else []
        connection = http.client.HTTPConnection(guard.dns_name, timeout=60)
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(60)
        try:
            plain.connect(guard.socket)
            connection.sock = plain
            if peer.connection != "plaintext":
                context = ssl.create_default_context(cafile=self._stack.instance.root_certificate)
                if peer.connection == "mtls":
                    context.load_cert_chain(self._file(self._certificate(own, peer.certificate)))
                connection.sock = context.wrap_socket(plain, server_hostname=guard.dns_name)
            return _exchange(connection, request.method, request.target, headers, request.body)
        except (OSError, http.client.HTTPException):
            return Heard(None, "no answer")
        finally:
            connection.close()
            plain.close()

    def _certificate(self, own: str, shown: Certificate) -> LeafCredential:
        secrets = Secrets(self._stack)
        authority = secrets.authority
        if shown.authority == "another":
            authority = self._stranger(authority.trust_domain)
        path = (shown.path or "{own}").replace("{own}", own)
        uri = f"spiffe://{shown.trust_domain or authority.trust_domain}{path}"
        now, names = datetime.now(UTC), [x509.UniformResourceIdentifier(uri)]
        return make_leaf(authority.issuing, names, [SERVER, CLIENT], now, timedelta(hours=1))

    def _stranger(self, trust_domain: str) -> Authority:
        if trust_domain not in self._strangers:
            self._strangers[trust_domain] = load_or_create(self._directory / "another", trust_domain)
        return self._strangers[trust_domain]

    def _file(self, credential: LeafCredential) -> Path:
        file = self._directory / "shown.pem"
        file.touch(0o600)
        file.write_text(credential.key_and_chain().reveal())
        return file

    def _change(self, change: Change, asked: Asked) -> None:
        if change.policy is not None:
            self._put_in_force(asked.policies[change.policy])
        self._revoke(change)

    def _put_in_force(self, policy: Policy) -> None:
        if policy != self._now:
            self._stack.apply(policy)
            self._now = policy

    def _revoke(self, change: Change, undo: bool = False) -> None:
        for kind, name in change.revoke.items():
            field = "token_id" if kind == "token" else kind
            ask(
                self._stack.state,
                {"do": "revoke", field: name, "unknown": True, "undo": undo},
                lambda _: None,
            )


def refusals(policy: Policy) -> Sequence[Problem]:
    """Why `up` refuses it; empty: it does not."""
    return find_unenforced(requirements(policy), LOCAL)


def _exchange(
    connection: http.client.HTTPConnection, method: str, target: str, headers: Sequence[Line], body: object
) -> Heard:
    """One request, byte for byte."""
    content = None
    if method == "POST" or body is not None:
        content = json.dumps({} if body is None else body).encode()
    with closing(connection):
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if content is not None:
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        response = connection.getresponse()
        rid = response.headers.get("X-Request-Id", "")
        return Heard(response.status, _word(response.read()), rid)


def _word(body: bytes) -> str | None:
    """The reason, in each of the shapes that an error has."""
    try:
        said = json.loads(body)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    error = said.get("error")
    return error.get("code") if isinstance(error, dict) else said.get("error_type")


def _hop_of(reason: str | None) -> Hop:
    if reason is None or reason in _BY_EDGE:
        return "edge"
    return "guard" if reason.startswith("guard_") else "decision"


@contextmanager
def running(policy: Policy, directory: Path) -> Iterator[Instance]:
    """An instance that begins with `policy`."""
    with closing(StandIns(directory, free_port())) as outside:
        put = outside.put_into(policy)
        (directory / "policy.yaml").write_text(to_json(put))
        with Stack(outside, str(policy.edge.hostname), "tests.stack.patient") as stack:
            yield Instance(stack, policy, directory)
