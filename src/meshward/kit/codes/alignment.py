"""MW5040 to MW5059: what `meshward align` finds where it reads what runs in a mesh."""

from __future__ import annotations

from meshward.kit.codes.code import Code
from meshward.kit.exits import Exit

ALIGN_OPEN = Code(
    "MW5040",
    "Somebody reaches a model as the policy does not permit.",
    "Delete the object or the rule, or have the policy say so.",
    Exit.FINDINGS,
)
ALIGN_CLOSED = Code(
    "MW5041",
    "The edge does not reach what the policy permits.",
    "Render again and apply, and take away what refuses it.",
    Exit.FINDINGS,
)
ALIGN_FIELD_DROPPED = Code(
    "MW5042",
    "An object has a field that the API server drops, and with it a condition.",
    "Correct the spelling; write with `--validate=strict`.",
    Exit.FINDINGS,
)
ALIGN_NEGATION = Code(
    "MW5043",
    "An ALLOW says what a request must not be: whoever shows nothing at all passes.",
    "Say in the rule what a request must be.",
    Exit.FINDINGS,
)
ALIGN_PLAINTEXT = Code(
    "MW5044",
    "A sidecar takes connections without a certificate.",
    "Have STRICT on every port, by a PeerAuthentication of the root namespace and no exception.",
    Exit.FINDINGS,
)
ALIGN_TOKENS = Code(
    "MW5045",
    "A sidecar does not check Transaction Tokens as it should.",
    "Render again and apply.",
    Exit.FINDINGS,
)
ALIGN_FOREIGN_KEYS = Code(
    "MW5046",
    "A sidecar believes tokens that are not of our edge: whoever has that key may forge any permission.",
    "Delete the object; let nobody else write RequestAuthentications there (`render --owned`).",
    Exit.FINDINGS,
)
ALIGN_PATHS = Code(
    "MW5047",
    "A mesh normalises paths otherwise than the policy's exact routes need.",
    "Have `pathNormalization: {normalization: BASE}` in the MeshConfig.",
    Exit.FINDINGS,
)
ALIGN_SELECTOR = Code(
    "MW5048",
    "An object of ours means other pods than it should.",
    "Render again and apply, or give the pods the labels that the site says.",
    Exit.FINDINGS,
)
ALIGN_NO_SIDECAR = Code(
    "MW5049",
    "A model's pod has no sidecar: nothing guards it.",
    "Have the namespace or the pod injected, and restart the pod.",
    Exit.FINDINGS,
)
ALIGN_WAY_AROUND = Code(
    "MW5050",
    "A way leads around what guards a model.",
    "Close it, or have it go through the sidecar.",
    Exit.FINDINGS,
)
ALIGN_CHAIN = Code(
    "MW5051",
    "Something changes the filters that decide, and what it means is not known.",
    "Delete it, or have it select other pods.",
    Exit.FINDINGS,
)
ALIGN_EXPORT = Code(
    "MW5052",
    "What the edge needs of a model is not exported to its namespace.",
    'Export it to the edge\'s namespace, or to all ("*").',
    Exit.FINDINGS,
)
ALIGN_TRUST_DOMAIN = Code(
    "MW5053",
    "A mesh takes callers of another trust domain for its own.",
    "Take the alias out of the MeshConfig, or correct the site's `trust_domain`.",
    Exit.FINDINGS,
)
ALIGN_EDGE_ACCOUNT = Code(
    "MW5054",
    "Others than the edge may use its ServiceAccount: they speak as the edge.",
    "Give them another one, and let nobody else start pods in the edge's namespace.",
    Exit.FINDINGS,
)
ALIGN_DRY_RUN = Code(
    "MW5055",
    "An object of ours is a dry run, and decides nothing.",
    "Take the annotation `istio.io/dry-run` away.",
    Exit.FINDINGS,
)
ALIGN_REVISION = Code(
    "MW5056",
    "An object or a namespace is of another revision of Istio than the edge.",
    "Give it the revision that the site says, or none.",
    Exit.FINDINGS,
)
ALIGN_WRITERS = Code(
    "MW5057",
    "Others may write what decides who reaches a model.",
    "Render with `--owned`, or take the right away.",
    Exit.FINDINGS,
)
ALIGN_NOT_TAKEN = Code(
    "MW5058",
    "An object is not taken: by the API server, or by Envoy, which then takes no later change either.",
    "Correct or delete it.",
    Exit.FINDINGS,
)
ALIGN_NOT_JUDGED = Code(
    "MW5059",
    "What something means for a model cannot be judged.",
    "Take it away, or look at it yourself.",
    Exit.FINDINGS,
)
