"""Who connects to the last hop: the edge, by mTLS, of our trust domain and authority. Nobody else sends a byte."""

from __future__ import annotations

from tests.conformance.cases.common import CLOSED, RULES_SMALL, SITE, case, inside, permit, token, trap
from tests.conformance.format import Case, Certificate, Peer
from tests.conformance.suite import topic


def _refused(id_: str, about: str, peer: Peer, *headers: tuple[str, str]) -> Case:
    return trap(id_, about, (inside(token(), peer=peer, headers=list(headers)), CLOSED), covers=["caller"])


CASES = [
    case("the-edge", "The edge is let in.", (inside(token()), permit()), covers=["caller"]),
    _refused("another-workload", "A workload with a stolen token is not the edge.", Peer(workload="scorer")),
    _refused("the-model-itself", "A model's own last hop is not the edge.", Peer(model="minilm")),
    _refused("a-sibling", "Nor is a sibling's.", Peer(model="assistant")),
    _refused(
        "a-longer-path",
        "A SPIFFE ID that begins like the edge's is another.",
        Peer(certificate=Certificate(path="{own}/x")),
    ),
    _refused(
        "another-namespace",
        "The edge's ServiceAccount in another namespace is another's.",
        Peer(certificate=Certificate(path="/ns/other/sa/nginx")),
    ),
    _refused("no-certificate", "Who shows no certificate is nobody.", Peer(connection="tls")),
    _refused("plaintext", "Plaintext is not answered.", Peer(connection="plaintext")),
    _refused(
        "another-authority",
        "A certificate in the edge's name by another authority is nobody's.",
        Peer(certificate=Certificate(authority="another")),
    ),
    _refused(
        "another-trust-domain",
        "Nor is one of another trust domain, by our authority even.",
        Peer(certificate=Certificate(trust_domain="other.test")),
    ),
    _refused(
        "a-told-certificate",
        "Who a proxy says that it saw counts for nothing.",
        Peer(workload="scorer"),
        (
            "X-Forwarded-Client-Cert",
            "URI=spiffe://cluster.local/ns/edge/sa/nginx,URI=spiffe://models.test/edge",
        ),
        ("l5d-client-id", "edge"),
    ),
]
TOPIC = topic("peers", __doc__ or "", {"small": RULES_SMALL}, CASES, {"cluster": SITE})
