"""MW1xxx: what a policy asks for and a path, or this release, does not enforce; what a target cannot say.

`plan.features` says what each feature means, and docs/support.md which hop enforces it.
"""

from __future__ import annotations

from meshward.kit.codes.code import Code
from meshward.kit.exits import Exit

_TAKE_OUT = "take it out of the policy that `up` runs; `check`, its tests and `explain` already understand it"


def _lacks(number: str, feature: str) -> Code:
    return Code(number, f"A path does not enforce `{feature}`.", _TAKE_OUT, Exit.UNSAFE)


NOT_ENFORCED = Code(
    "MW1000",
    "The policy asks for what this release does not enforce.",
    "Take them out to run it; `meshward check` and `explain` understand them all the same.",
    Exit.UNSAFE,
)
LACKS_AGENTS = _lacks("MW1001", "agents")
LACKS_OPERATORS_AUDIT = _lacks("MW1003", "operators audit")
LACKS_TRUSTED_PROXIES = _lacks("MW1006", "trusted proxies")
LACKS_HOSTED_ENDPOINT = _lacks("MW1012", "hosted endpoint")
LACKS_HTTPS_UPSTREAM = _lacks("MW1013", "https upstream")
LACKS_BODY_MODEL = _lacks("MW1015", "body model")
LACKS_CACHE = _lacks("MW1016", "cache")
LACKS_CAPTURE = _lacks("MW1018", "capture")
LACKS_CALLS = _lacks("MW1019", "calls")
LACKS_REQUEST_LEDGER = _lacks("MW1021", "request ledger")
LACKS_TOKEN_BUDGET = _lacks("MW1022", "token budget")
LACKS_CONCURRENCY = _lacks("MW1023", "concurrency")
LACKS_SHARED_LIMIT = _lacks("MW1024", "shared limit")
LACKS_ON_REQUEST = _lacks("MW1025", "on request")
LACKS_SHADOW = _lacks("MW1026", "shadow")
LACKS_SEALING = _lacks("MW1028", "sealing")
LACKS_RETENTION = _lacks("MW1029", "retention")
LACKS_MAX_BLIND = _lacks("MW1030", "max blind")
LACKS_ALERT_WHEN_BLIND = _lacks("MW1031", "alert when blind")
LACKS_UNKNOWN_KEY = Code(
    "MW1032", "A key of the format of which no table says what enforces it.", _TAKE_OUT, Exit.UNSAFE
)
LACKS_VIA = _lacks("MW1033", "via")
LACKS_OPERATORS_OPEN = _lacks("MW1034", "operators open")
LACKS_OPERATORS_ERASE = _lacks("MW1035", "operators erase")
DECISION_SPLIT = Code(
    "MW1039",
    "No one hop of a path sees every fact of the decision.",
    "give this path one hop that decides all of it: permissions, not facts, may be checked in parts",
    Exit.UNSAFE,
)
LACKS_CALLER = _lacks("MW1040", "caller")
LACKS_TRANSACTION_TOKEN = _lacks("MW1041", "transaction token")
LACKS_PERMISSION = _lacks("MW1042", "permission")
LACKS_ROUTES = _lacks("MW1043", "routes")
LACKS_IDENTITY = _lacks("MW1044", "identity")
LACKS_WORKLOADS = _lacks("MW1045", "workloads")
LACKS_ROLES = _lacks("MW1046", "roles")
LACKS_CONDITIONS = _lacks("MW1047", "conditions")
LACKS_ATTRIBUTES = _lacks("MW1048", "attributes")
LACKS_DENIES = _lacks("MW1049", "denies")
LACKS_EXPIRY = _lacks("MW1050", "expiry")
LACKS_CANONICAL_REQUEST = _lacks("MW1051", "canonical request")
LACKS_BODY_ROUTING = _lacks("MW1052", "body routing")
LACKS_IDENTITY_HEADERS = _lacks("MW1053", "identity headers")
LACKS_LISTENER = _lacks("MW1054", "listener")
LACKS_EDGE_CERTIFICATE = _lacks("MW1055", "edge certificate")
LACKS_NEXT_HOP = _lacks("MW1056", "next hop")
LACKS_TOKEN_TYPE = _lacks("MW1057", "token type")
LACKS_TOKEN_AGE = _lacks("MW1058", "token age")
LACKS_REVOKED_SUBJECT = _lacks("MW1059", "revoked subject")
LACKS_REVOKED_AGENT = _lacks("MW1060", "revoked agent")
LACKS_REVOKED_TOKEN = _lacks("MW1061", "revoked token")
LACKS_REVOKED_STREAM = _lacks("MW1062", "revoked stream")
LACKS_EXPIRED_STREAM = _lacks("MW1063", "expired stream")
LACKS_REQUEST_RATE = _lacks("MW1064", "request rate")
LACKS_MAX_BODY = _lacks("MW1065", "max body")
LACKS_TIMEOUT = _lacks("MW1066", "timeout")
LACKS_WEIGHTS = _lacks("MW1067", "weights")
LACKS_REPLICAS = _lacks("MW1068", "replicas")
LACKS_HEALTH = _lacks("MW1069", "health")
LACKS_SERVER_CREDENTIAL = _lacks("MW1070", "server credential")
LACKS_LOG = _lacks("MW1071", "log")
LACKS_BODY_DIGESTS = _lacks("MW1072", "body digests")
LACKS_BLOCK_WHEN_BLIND = _lacks("MW1073", "block when blind")
LACKS_ROTATION = _lacks("MW1074", "rotation")
LACKS_OPERATORS = _lacks("MW1075", "operators")
LACKS_PASSED_SUBJECT = _lacks("MW1076", "passed subject")
NOT_FOR_NGINX = Code(
    "MW1201",
    "A text that cannot be written into a configuration of nginx.",
    "Use letters, digits, and . _ - / for paths and names.",
)
NO_EDGE_OF_NGINX = Code(
    "MW1202",
    "What was asked for cannot be an edge of nginx.",
    "Change the edge's listener, or the directory that meshward runs in.",
)
SERVER_NOT_PLAIN_HTTP = Code(
    "MW1301",
    "A guard cannot reach its server.",
    "give the version's `url` as `unix:/path` or `http://127.0.0.1:<port>`",
    Exit.USAGE,
)
