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
