"""Clusters: an API server that is read, and that objects are applied at."""

from __future__ import annotations

from meshward.kit.codes.code import Code
from meshward.kit.exits import Exit

CLUSTER_UNREACHABLE = Code(
    "MW5060",
    "A cluster's API server does not answer.",
    "See that the address in the kubeconfig is right and reached from here. An `apply` that was under way is completed "
    "by the next one; nothing is open meanwhile that was not, or is not to be.",
)
KUBECONFIG_UNUSABLE = Code(
    "MW5061",
    "A kubeconfig names no API server that could be asked.",
    "Name another one with --kubeconfig, or set KUBECONFIG; `kubectl config view` shows what it says.",
    Exit.USAGE,
)
CLUSTER_CLIENT_MISSING = Code(
    "MW5062",
    "The client that asks a cluster is not installed.",
    "Install `meshward[kubernetes]`; what reads or writes files alone does without.",
)
CLUSTER_CREDENTIALS = Code(
    "MW5063",
    "A cluster's API server does not know who asks.",
    "Renew the credentials in the kubeconfig, or name another one with --kubeconfig.",
    Exit.DENIED,
)
CLUSTER_RIGHT_MISSING = Code(
    "MW5064",
    "A cluster gives no right to what was asked for.",
    "Have its operators give this user the right that is named.",
    Exit.DENIED,
)
CLUSTER_LACKS = Code(
    "MW5065",
    "A cluster lacks a namespace or a kind that the mesh's objects need.",
    "Create the namespace, or install the CRDs of the mesh.",
    Exit.HOP_REFUSED,
)
FIELD_OWNED_BY_ANOTHER = Code(
    "MW5066",
    "Somebody else owns a field of an object that is to be ours.",
    "Have whoever runs that manager leave the field alone, or take it over with `--allow takeover`.",
    Exit.CONFLICT,
)
CLUSTER_REFUSED = Code(
    "MW5067",
    "A cluster's API server refuses an object.",
    "The sentence names the object and the field, or the admission policy that refuses it.",
    Exit.HOP_REFUSED,
)
APPLIED_BY_ANOTHER = Code(
    "MW5068",
    "Somebody else is applying to the same cluster.",
    "Wait until they are done, and run `meshward plan` again: it shows what yours would change then.",
    Exit.CONFLICT,
)
CHANGED_MEANWHILE = Code(
    "MW5069",
    "An object was changed by somebody else while it was being applied.",
    "Run it again: it is planned anew from what is there now.",
    Exit.CONFLICT,
)
NOT_OURS = Code(
    "MW5070",
    "An object that is to be ours is there already, and is somebody else's.",
    "Rename or delete it, or take it over with `--allow takeover`.",
    Exit.CONFLICT,
)
CLUSTER_HALF_WAY = Code(
    "MW5071",
    "A change of a cluster was refused, and the way back was not taken whole.",
    "Nothing is open that neither the old nor the new policy opens. `meshward apply` of either completes it.",
    Exit.HOP_REFUSED,
)
RECORD_UNREADABLE = Code(
    "MW5072",
    "What was applied to a cluster before is not known, so nobody can tell who gains.",
    "Restore the ConfigMap from a backup, or apply with `--allow widening`.",
    Exit.UNSAFE,
)
NOT_THE_OWNER = Code(
    "MW5073",
    "With `--owned`, only meshward's ServiceAccount may write, and somebody else asks for it.",
    "Use a kubeconfig of that ServiceAccount.",
    Exit.UNSAFE,
)
CLUSTER_WIDENS = Code(
    "MW5074",
    "A change of a cluster widens access.",
    "If that is meant, apply it with `--allow widening`.",
    Exit.UNSAFE,
)
NOT_THE_REVIEWED = Code(
    "MW5075",
    "A change of a cluster is another one than was reviewed.",
    "`meshward plan` shows what it would change now.",
    Exit.CONFLICT,
)
SITE_FORGOTTEN = Code(
    "MW5076",
    "What a cluster has was applied with a site, and this names none.",
    "Give --site.",
    Exit.USAGE,
)
