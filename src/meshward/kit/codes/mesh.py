"""Sites and meshes: what a site says, what is rendered, aligned and applied there."""

from __future__ import annotations

from meshward.kit.codes.code import Code
from meshward.kit.exits import Exit

UNKNOWN_IN_POLICY = Code(
    "MW5001",
    "A site places what the policy does not have.",
    "Take it out of the site, or put it into the policy.",
    Exit.USAGE,
)
KEY_NOT_GIVEN = Code(
    "MW5016",
    "Hops that are not on this machine were not yet given the next signing key.",
    "Run `meshward render --state DIR` and put there what it writes, or `meshward apply --target istio`; then "
    "`meshward rotate signing-key --given KEY` with that key's id.",
    Exit.UNSAFE,
)
ROOT_NOT_GIVEN = Code(
    "MW5017",
    "Guards on other machines trust the root that is to be replaced, and no other.",
    "Be ready to run `meshward svid MODEL/VERSION` for each of them at once, then add `--force`: until a guard has the "
    "new bundle, it is sent nothing.",
    Exit.UNSAFE,
)
WORKLOADS_ALIKE = Code(
    "MW5002",
    "Two workloads of the policy have one SPIFFE ID on a site.",
    "Give each a ServiceAccount of its own: whoever is one of them would have the rights of both.",
    Exit.USAGE,
)
EDGE_IDENTITY_SHARED = Code(
    "MW5003",
    "Somebody else has the edge's identity on a site.",
    "Give the edge a ServiceAccount that nobody else uses: whoever has it may show any token that he has seen.",
    Exit.USAGE,
)
VERSION_WITHOUT_PLACE = Code(
    "MW5004",
    "A site says no place for a version, and a mesh cannot guard what it does not know.",
    "Place it: `models.MODEL.VERSION` with a service, or with `guard: HOST:PORT`.",
    Exit.USAGE,
)
PLACE_SHARED = Code(
    "MW5005",
    "Two versions have one place on a site, where only one of them can be guarded.",
    "Give each a service and port, or a guard's address, of its own.",
    Exit.USAGE,
)
PODS_SHARED = Code(
    "MW5006",
    "One pod could have the labels of two versions on a site: what either permits would be permitted there.",
    "Give both a label with the same key and different values.",
    Exit.USAGE,
)
IN_ROOT_NAMESPACE = Code(
    "MW5007",
    "A site places a model, or the edge, in the mesh's root namespace, whose rules hold in every namespace.",
    "Place it in a namespace of its own.",
    Exit.USAGE,
)
AUDIENCE_AMBIGUOUS = Code(
    "MW5008",
    "A site's trust domain is spelled like a permission: every Transaction Token would hold it.",
    "Give the site another trust domain, or the model another name.",
    Exit.USAGE,
)
MODEL_IDENTITY_SHARED = Code(
    "MW5009",
    "The pods of a model have an identity on a site that gives them rights of somebody else.",
    "Give the model's pods a ServiceAccount of their own.",
    Exit.USAGE,
)
PLACE_UNFIT = Code(
    "MW5010",
    "A site places a version where it cannot be.",
    "Name the place where that version's own guard or service is.",
    Exit.USAGE,
)
PORT_NOT_GUARDED = Code(
    "MW5011",
    "A site places a version at a port that a sidecar keeps for itself and does not guard.",
    "Have the service and its pods at another port.",
    Exit.USAGE,
)
HOSTNAME_TAKEN = Code(
    "MW5012",
    "Under a site's trust domain a guard has the DNS name by which clients know the edge.",
    "Give the site another trust domain.",
    Exit.USAGE,
)
WORKLOAD_MOVED = Code(
    "MW5013",
    "A site says that a workload of the policy is somebody else than the policy says.",
    "See that only those may use that ServiceAccount who may be this workload; `apply` asks for `--allow widening`.",
    Exit.USAGE,
)
IDENTITY_RESERVED = Code(
    "MW5018",
    "Somebody has a ServiceAccount on a site that is meshward's own.",
    "Give it another: `meshward` of the edge's namespace may write what guards the models, and pods take everything "
    "from `mw-waypoint`.",
    Exit.USAGE,
)
PLACE_UNKNOWN = Code(
    "MW5015",
    "The place of a version leads nowhere.",
    "See that this machine can look the name up, or write an address into the site.",
    Exit.UNSAFE,
)
ROUTE_NOT_EXACT = Code(
    "MW5020",
    "Istio would compare a route otherwise than it is written.",
    "Write the route's path without `*`, `{`, `%`, `;`, `//` and `.` segments, or place the model behind `guard:`.",
    Exit.UNSAFE,
)
NAMES_COLLIDE = Code(
    "MW5021",
    "Two objects of a mesh would have one name.",
    "Rename one of the models or versions: they differ in `.`, `_` and `-` alone, or end in each other's digest.",
    Exit.UNSAFE,
)
NOT_COVERED = Code(
    "MW5022",
    "No hop of a path on a site sees what decides access there.",
    "Place those versions where a hop sees it, or take what asks for it out of the policy.",
    Exit.UNSAFE,
)
LOSS_REFUSED = Code(
    "MW5023",
    "Something that the policy asks for is lost on a site, and `--strict` was asked for.",
    "Take what asks for it out of the policy, or render without `--strict` and know what is lost.",
    Exit.UNSAFE,
)
FOREIGN_FILES = Code(
    "MW5024",
    "The directory to render into holds files that were not rendered.",
    "Name another directory, or take them away: it is kept exactly as it is rendered.",
    Exit.UNSAFE,
)
NOT_PUBLIC_KEYS = Code(
    "MW5025",
    "A file of keys is no JSON Web Key Set of the edge's public keys.",
    "Give the public halves of the keys that sign Transaction Tokens: EC P-256, with `kid` and `alg`.",
    Exit.USAGE,
)
NO_GUARD_IN_POD = Code(
    "MW5026",
    "A guard of ours in the pods of a mesh is not rendered yet.",
    "Render with `--guard auto` or `never`, and read what is lost; or place the version behind `guard: HOST:PORT`.",
    Exit.UNSAFE,
)
NOTHING_TO_RENDER = Code(
    "MW5027",
    "A site gives a target nothing to render.",
    "Place a version where this target guards it.",
    Exit.USAGE,
)
