"""`meshward` that calls no guard silent, and no change late, as long as a test waits: a busy machine is slow to answer.

For tests whose guards answer in the end. What becomes of one that does not is tried with `meshward` itself.
"""

from __future__ import annotations

from meshward.apply import guards, mesh
from meshward.cli.main import main
from meshward.testing.waiting import DEADLINE


def be() -> None:
    guards.SILENCE = DEADLINE
    mesh.PATIENCE = 2 * DEADLINE


if __name__ == "__main__":
    be()
    main()
