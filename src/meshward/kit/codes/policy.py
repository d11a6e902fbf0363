"""MW00xx to MW05xx: what can be wrong with a policy, its tests and its laws."""

from __future__ import annotations

from meshward.kit.codes.code import Code
from meshward.kit.exits import Exit

_SAY_WHAT_IS_MEANT = "Take it out, or change it so that it says what is meant."

MORE_PROBLEMS = Code("MW0000", "More problems than are shown.", "Mend these first.", Exit.USAGE)
POLICY_UNREADABLE = Code(
    "MW0001",
    "The policy cannot be read from disk.",
    "Give the path of a regular file, or of a directory of them, that you may read.",
    Exit.USAGE,
)
POLICY_TOO_LARGE = Code(
    "MW0002",
    "The policy is too large, has too many values, or is nested too deep.",
    "Take out what is not policy.",
    Exit.USAGE,
)
NOT_PLAIN_TEXT = Code(
    "MW0003",
    "Not UTF-8 text, or a character that is not seen as itself.",
    "Save the file as UTF-8, without what is not seen as itself.",
    Exit.USAGE,
)
NOT_YAML = Code("MW0004", "Not YAML.", "Correct the place that is named.", Exit.USAGE)
YAML_NOT_TAKEN = Code(
    "MW0005",
    "YAML that is not taken: anchors, aliases, tags, directives, a second document.",
    "Write the value out, in one plain document.",
    Exit.USAGE,
)
GIVEN_TWICE = Code("MW0006", "A key or a name is given twice.", "Take one of them out.", Exit.USAGE)
KEY_NOT_TEXT = Code("MW0007", "A key is not text.", "Put it in quotes.", Exit.USAGE)
NUMBER_NOT_TAKEN = Code(
    "MW0008",
    "A number that is not taken: a fraction, an odd spelling, more than 15 digits.",
    "Write a plain whole number, or put it in quotes if it is text.",
    Exit.USAGE,
)
POLICY_EMPTY = Code("MW0009", "The policy is empty.", "Begin with `version: 1`.", Exit.USAGE)
UNKNOWN_KEY = Code(
    "MW0010", "An unknown key.", "Look at the spelling; docs/policy.md has every key.", Exit.USAGE
)
MISSING_KEY = Code("MW0011", "A key is missing.", "Add the key that is named.", Exit.USAGE)
WRONG_TYPE = Code(
    "MW0012",
    "A value has the wrong type, or there is none.",
    "Write the kind of value that is named; docs/policy.md has them all.",
    Exit.USAGE,
)
NOT_A_NAME = Code("MW0013", "Not a name.", "Write lower-case letters, digits and hyphens.", Exit.USAGE)
UNKNOWN_WORD = Code(
    "MW0014",
    "Not one of the words that are known here.",
    "Write one of the words that are named.",
    Exit.USAGE,
)
MALFORMED_VALUE = Code(
    "MW0015", "A value does not follow its grammar.", "Write it as docs/policy.md shows.", Exit.USAGE
)
OUT_OF_BOUNDS = Code(
    "MW0016", "Empty, too long, too small or too large.", "Keep within the bound that is named.", Exit.USAGE
)
DANGLING_REFERENCE = Code("MW0020", "A reference to nothing.", "Name what exists, or add it.", Exit.USAGE)
AMBIGUOUS_NAME = Code(
    "MW0021", "A name, alias or id that means two things.", "Give each of them a name of its own.", Exit.USAGE
)
AMBIGUOUS_ROUTE = Code("MW0022", "A route that means two things.", "Give each route one action.", Exit.USAGE)
TRAFFIC_TO_NOWHERE = Code(
    "MW0023", "Traffic to nowhere.", "Give weights to versions that there are, and one above 0.", Exit.USAGE
)
SUBJECT_MISSING = Code(
    "MW0024",
    "A line that does not say who.",
    "Say who: add `issuer:`, or `workload:`, or what is asked of the caller.",
    Exit.USAGE,
)
ISSUER_KEY_MISFIT = Code(
    "MW0025",
    "An issuer's key that its profile needs, or has no use for.",
    "Add what the profile needs, and take the rest out.",
    Exit.USAGE,
)
SOURCE_KEY_MISFIT = Code(
    "MW0026",
    "A key that `from` needs, or has no use for.",
    "Add what `from` needs, and take the rest out.",
    Exit.USAGE,
)
EMPTY_PART = Code(
    "MW0027",
    "A part that says nothing and looks as if it did.",
    "Write what it should say, or take it out.",
    Exit.USAGE,
)
NAME_TAKEN = Code("MW0028", "A name that is taken.", "Give it another name.", Exit.USAGE)
SEALED_FOR_NOBODY = Code(
    "MW0029",
    "Sealed for nobody.",
    "Name under `audit: {seal: ...}` who can open it, or choose another `capture`.",
    Exit.USAGE,
)
SAME_DNS_NAME = Code("MW0030", "Two versions with one DNS name.", "Give it another name.", Exit.USAGE)
SERVER_TWICE = Code("MW0031", "A server that is listed twice.", "Take one of them out.", Exit.USAGE)
SERVER_SHARED = Code(
    "MW0032",
    "Models on one server that cannot tell them apart.",
    "Give each model a server of its own, or a `model` of its own on one that goes by it.",
    Exit.USAGE,
)
RIGHT_OVER_SHARED = Code(
    "MW0033",
    "A rule about a whole server that names some of its models.",
    "Select all models of that server, or name `actions` without `observe` and `manage`.",
    Exit.USAGE,
)
LAW_ABOUT_NOTHING = Code(
    "MW0050",
    "Lint: a law about models that do not exist.",
    "Name labels that models have, or take the law out.",
    Exit.OK,
)
SECRET_IN_CLEAR = Code(
    "MW0051",
    "Lint: a secret that would cross a network in clear.",
    "Reach the server over TLS or on this machine, or take the credential out.",
    Exit.OK,
)
TEST_FAILED = Code(
    "MW0501",
    "A test of the policy fails.",
    "Change the rules until it holds, or the test if it no longer says what is meant.",
    Exit.USAGE,
)
LAW_BROKEN = Code(
    "MW0502",
    "A law of the policy is broken by a grant.",
    "Narrow the grant, deny it to the role, or change the law.",
    Exit.USAGE,
)
IDLE_GRANT = Code("MW0510", "Lint: a grant that can never hold.", _SAY_WHAT_IS_MEANT, Exit.OK)
PAST_RULE = Code("MW0511", "Lint: something that is over.", _SAY_WHAT_IS_MEANT, Exit.OK)
IDLE_DENY = Code("MW0512", "Lint: a deny that can never match.", _SAY_WHAT_IS_MEANT, Exit.OK)
IDLE_AGENT = Code("MW0513", "Lint: an agent that can never act.", _SAY_WHAT_IS_MEANT, Exit.OK)
NOT_IN_POLICY = Code(
    "MW0530", "A question names what the policy does not have.", "Name one that it has.", Exit.USAGE
)
