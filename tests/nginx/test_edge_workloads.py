"""Client certificates: what nginx lets pass to the decision, and that no two of them share an answer."""

from __future__ import annotations

import contextlib
import ssl
from urllib.parse import unquote

import pytest
from cryptography import x509
from edge_harness import DOMAIN, Edge, Received, Response, facts, permit, refusal, who
from nginx_pki import Pki

SCORER = x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/ns/jobs/sa/scorer")


def by_certificate(request: Received) -> object:
    """Names the caller by the leaf that was handed over; without one nobody is known."""
    leaf = request.get("X-Mw-Certificate")
    if leaf is None:
        return refusal(401, "no_credentials")
    if request.get("X-Mw-Model") is None:
        return who()
    serial = x509.load_pem_x509_certificate(unquote(leaf).encode()).serial_number
    return permit(mw_facts=facts(sub=f"workload:{serial}", model="minilm"))


def ask(
    edge: Edge, certificate: bytes | None, token: str | None = None, path: str = "/m/minilm/embed"
) -> Response:
    with edge.client(certificate=certificate) as client:
        return client.request("POST", path, token, b'{"model":"minilm"}')


def leaf_of(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def test_a_workloads_leaf_and_the_verdict_are_handed_over(edge: Edge) -> None:
    pem = edge.pki.leaf_pem(SCORER)
    edge.decision.answer = by_certificate
    assert ask(edge, pem).status == 200
    (asked,) = edge.decision.received
    assert asked.get("X-Mw-Verify") == "SUCCESS"
    assert leaf_of(unquote(asked.get("X-Mw-Certificate") or "").encode()) == leaf_of(pem)
    (seen,) = edge.seen()
    assert not [name for name, _ in seen.headers if "cert" in name.lower() or "verify" in name.lower()]


@pytest.mark.parametrize("path", ["/m/minilm/embed", "/v1/embeddings"])
def test_an_answer_is_kept_for_one_certificate_only(edge: Edge, path: str) -> None:
    """Same request, same name, another certificate; and none at all after one was kept."""
    edge.decision.answer = by_certificate
    first, second = edge.pki.leaf_pem(SCORER), edge.pki.leaf_pem(SCORER)
    seen = [ask(edge, pem, path=path) for pem in (first, first, second, second, first)]
    assert [each.status for each in seen] == [200] * 5
    names = [edge.line(each.get("X-Request-Id"))["facts"] for each in seen]
    assert names[0] == names[1] == names[4] != names[2] == names[3]
    assert [model for asked in edge.decision.received if (model := asked.get("X-Mw-Model"))] == ["minilm"] * 2
    assert ask(edge, None, path=path).status == 401
    assert len(edge.seen()) == 5


def test_a_certificate_and_a_token_are_told_from_either_alone(edge: Edge) -> None:
    """The decision refuses both together: neither's kept answer may stand in for it."""

    def answer(request: Received) -> object:
        both = request.get("X-Mw-Certificate") and request.get("X-Mw-Authorization")
        return refusal(401, "two_credentials") if both else permit()

    edge.decision.answer = answer
    pem = edge.pki.leaf_pem(SCORER)
    for certificate, token, status in (
        (pem, None, 200),
        (None, "ok", 200),
        (pem, "ok", 401),
        (pem, None, 200),
    ):
        assert ask(edge, certificate, token).status == status
    assert len(edge.decision.received) == 3


def wrong_certificates(edge: Edge) -> dict[str, bytes]:
    other = Pki()
    return {
        "another root": other.leaf_pem(SCORER),
        "expired": edge.pki.leaf_pem(SCORER, end=-1),
    }


def test_another_authoritys_certificate_never_reaches_the_decision(edge: Edge) -> None:
    for what, pem in wrong_certificates(edge).items():
        for token in (None, "ok"):
            for path in ("/m/minilm/embed", "/v1/embeddings", "/.well-known/oauth-protected-resource", "/x"):
                answer = None
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    answer = ask(edge, pem, token, path)
                assert answer is not None, (what, path)
                assert answer.status == 401, (what, path, answer)
                assert b"certificate_refused" in answer.body and "SVID" in (
                    answer.get("X-Error-Message") or ""
                )
                assert edge.line(answer.get("X-Request-Id"))["reason"] == "certificate_refused"
    assert edge.decision.received == [] and edge.seen() == []


def test_a_certificate_of_the_future_is_called_clock_skew_with_both_times(edge: Edge) -> None:
    """Whose end has come is not, nor whose root is another: of those nothing is known."""
    early = edge.pki.leaf_pem(SCORER, begin=10)
    answer = ask(edge, early)
    told = answer.get("X-Error-Message") or ""
    begins = leaf_of(early).not_valid_before_utc
    assert answer.status == 401 and told.startswith("Clock skew: ") and f"{begins:%H:%M:%S %Y} GMT" in told, (
        told
    )
    assert edge.line(answer.get("X-Request-Id"))["reason"] == "certificate_refused"
    for what, pem in wrong_certificates(edge).items():
        assert "skew" not in (ask(edge, pem).get("X-Error-Message") or ""), what
    assert edge.decision.received == [] and edge.seen() == []


def test_headers_cannot_stand_in_for_a_certificate(edge: Edge) -> None:
    edge.decision.answer = by_certificate
    leaf = edge.pki.leaf_pem(SCORER).decode().replace("\n", "%0A")
    with edge.client() as client:
        answer = client.request(
            "POST", "/m/minilm/embed", None, b"{}", X_Mw_Verify="SUCCESS", X_Mw_Certificate=leaf[:2000]
        )
    assert answer.status == 401
    assert [asked.get("X-Mw-Verify") for asked in edge.decision.received] == ["NONE"]
