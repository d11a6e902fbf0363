"""All that `meshward check` has to say about a policy that could be read."""

from __future__ import annotations

from meshward.check.lints import lints
from meshward.check.promises import broken_promises
from meshward.kit.errors import Problem
from meshward.plan.resolve import resolve
from meshward.policy.parse import Document


def check(document: Document, now: int) -> list[Problem]:
    """Broken tests and laws (errors), then the parser's lints and what has no effect at `now` (lints)."""
    return [*broken_promises(document), *document.lints, *lints(resolve(document.policy), document, now)]
