"""MW2xxx: tokens, keys, workloads, signing in."""

from __future__ import annotations

from meshward.kit.codes.code import Code
from meshward.kit.exits import Exit

PROFILE_UNKNOWN = Code(
    "MW2001",
    "There is no issuer profile of that name.",
    "Use `profile: oidc` with `issuer`, `audience` and `groups`.",
)
FETCH_NOT_ALLOWED = Code(
    "MW2003",
    "An address from which no issuer's document is fetched.",
    "Give a public https URL, or allow it under `jwks: {allow: ...}`.",
)
FETCH_FAILED = Code(
    "MW2004",
    "An issuer's document was not had, or is not what it should be.",
    "Look at what the issuer serves there.",
)
NO_ISSUER_KEYS = Code(
    "MW2005",
    "There are no usable keys of an issuer.",
    "Check that its keys can be read from this machine: fetch their address by hand.",
)
SIGNING_KEYS_DAMAGED = Code(
    "MW2010",
    "The signing keys cannot be read.",
    "Restore the directory, or remove it: new keys are made and handed to every guard.",
)
NOT_A_SPIFFE_ID = Code(
    "MW2020",
    "A text that is not a SPIFFE ID.",
    "Write spiffe://<trust domain>/<path> with letters, digits, `.`, `_` and `-`.",
)
AUTHORITY_DAMAGED = Code(
    "MW2021",
    "The certificate authority cannot be used.",
    "Restore the directory, or remove it: a new root is made, which clients must then be given.",
)
CHAIN_PROVES_NOTHING = Code("MW2022", "A certificate chain proves no workload.", "Issue it again.")
LIVE_FILE_UNUSABLE = Code(
    "MW2030",
    "What the decision service knows of the instance, live.json, cannot be used.",
    "The runtime writes it; apply again.",
)
DECISION_FILES_UNUSABLE = Code(
    "MW2031", "The decision service's files cannot be used.", "Apply the policy again."
)
REVOCATIONS_DAMAGED = Code(
    "MW2032",
    "The list of who was revoked is damaged.",
    (
        "Restore it: without it nobody can tell who was revoked. If it is lost, remove it, and start with "
        "`meshward up --accept-revocations`."
    ),
)
REVOCATIONS_LOST = Code(
    "MW2033",
    "The list of who was revoked is gone, or is not the last one.",
    (
        "Restore the last one; an instance that runs still knows it, and writes it with the next change or `meshward "
        "revoke`. If it is lost, `meshward up --accept-revocations` starts with what is there, which is written down."
    ),
)
NO_INSTANCE = Code(
    "MW2040",
    "There is no instance in the state directory.",
    "Start one with `meshward up POLICY`, or name its directory with --state.",
    Exit.USAGE,
)
OWNER_ALONE_ISSUES = Code(
    "MW2041",
    "Only the owner of a state directory may issue SVIDs.",
    "Ask whoever runs the instance.",
    Exit.UNSAFE,
)
WORKLOAD_UNKNOWN = Code(
    "MW2042", "The running policy has no workload of that name.", "Name one that it has.", Exit.USAGE
)
OWN_IDENTITY = Code(
    "MW2043", "A workload's id is a part of meshward's own.", "Give the workload another id.", Exit.UNSAFE
)
DIRECTORY_NOT_YOURS = Code(
    "MW2044",
    "A directory is not yours, or others can write into it.",
    "Name one that only you can write to.",
    Exit.UNSAFE,
)
SVID_NOT_WRITTEN = Code("MW2045", "An SVID cannot be written.", "Name another directory.")
URL_NOT_TRUSTED = Code(
    "MW2101",
    "A URL to which no token may go, or that is no edge.",
    "Use an https URL; http is for this machine alone.",
    Exit.USAGE,
)
NO_GOOD_ANSWER = Code(
    "MW2102", "A server of the sign-in did not answer well.", "Look at what it serves there, and try again."
)
ROOT_UNREADABLE = Code(
    "MW2103",
    "A file holds no root certificate.",
    "Name a PEM file with --cacert; a local instance's is in the `ready` lines of `meshward up`.",
    Exit.USAGE,
)
NOT_AN_EDGE = Code(
    "MW2104",
    "What answers does not say that it is a meshward edge.",
    ("Use the URL that the edge itself has, host name and port; its metadata must name it (RFC 9728, 3.3)."),
)
ISSUER_UNCLEAR = Code(
    "MW2105",
    "Which issuer, or which client there, is not clear.",
    "Name one with --issuer and --client.",
    Exit.USAGE,
)
ISSUER_UNUSABLE = Code(
    "MW2106", "An issuer cannot be used for signing in.", "Give the issuer exactly as it names itself."
)
TOKENS_UNUSABLE = Code(
    "MW2107",
    "The issuer's answer cannot be used.",
    "Look at how the client is registered there (docs/quickstart.md, `Registering the client`).",
    Exit.DENIED,
)
SIGN_IN_REFUSED = Code(
    "MW2108", "The sign-in was refused, or its time is over.", "Try again; nothing was stored.", Exit.DENIED
)
REDIRECT_UNUSABLE = Code(
    "MW2109",
    "A redirect that does not lead to this machine, or cannot be listened for.",
    "Give --redirect as it is registered at the issuer.",
    Exit.USAGE,
)
LOGIN_STORE_UNUSABLE = Code(
    "MW2110",
    "The file of a login cannot be used.",
    "Remove it, then sign in again with `meshward login`.",
    Exit.USAGE,
)
NOT_SIGNED_IN = Code(
    "MW2111",
    "Nobody is signed in, or it is not clear whose login is meant.",
    "Sign in with `meshward login`.",
    Exit.USAGE,
)
LOGIN_OVER = Code("MW2112", "A login is over.", "Sign in again with `meshward login`.", Exit.DENIED)
CALLER_NOT_KNOWN = Code(
    "MW2113",
    "An edge or issuer does not know who asks, or did not answer.",
    "Ask who runs it; `meshward login` signs in anew.",
)
LOGIN_USAGE = Code(
    "MW2114",
    "Wrong usage of `login`.",
    "Give --edge URL (or $MESHWARD_EDGE), or --issuer URL --client ID, or --state of an instance here.",
    Exit.USAGE,
)
EDGE_REFUSED_COMMAND = Code(
    "MW2115",
    "An edge refused to be asked, or did not answer.",
    "The policy's `operators` says who may change it; on its own machine its owner can, without --edge.",
)
OKTA_ORG_SERVER = Code(
    "MW2120",
    "An issuer is Okta's org server, whose access tokens are for Okta alone.",
    "Name a custom authorization server, like https://example.okta.com/oauth2/default.",
)
SERVER_NOT_KNOWN = Code(
    "MW2121",
    "No model server answers, or one of no known kind.",
    "Start the model server, or name where it listens: unix:/path or http://host:port.",
)
ANSWER_MISSING = Code(
    "MW2122",
    "Something that `init` needs to know is missing or cannot be.",
    "Give the option that is named.",
    Exit.USAGE,
)
TXN_KEY_NOT_WHOLE = Code(
    "MW2301", "A Transaction Token key is not whole.", "run `meshward rotate signing-key`"
)
NO_TXN_KEY = Code("MW2302", "There is no Transaction Token key.", "run `meshward rotate signing-key`")
NO_DEMO_ACCOUNTS = Code(
    "MW2901",
    "There are no demo accounts.",
    "Start the demo, `meshward up --demo`, which makes them; delete a damaged file first.",
    Exit.USAGE,
)
DEMO_ACCOUNT_UNKNOWN = Code(
    "MW2902", "No demo account has that name.", "Use one that `meshward up --demo` names."
)
DEMO_PROVIDER_FAILED = Code(
    "MW2903",
    "The demo identity provider did not answer as it should.",
    "Is the demo running with this state directory? `meshward status` tells.",
)
