"""What becomes of a path that is spelled otherwise than its route, on each way to a model: which hop answers, and how.

Seen at real sidecars. A route is an exact path, so a spelling is either made into that path first, and served as it, or
denied. A policy with a route that has a variable segment is refused (`authorization`): there a spelling could pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Hop = Literal["edge", "decision service", "sidecar"]


@dataclass(frozen=True, slots=True)
class Spelling:
    """`written`: how `/v1/embeddings` would be spelled so. `edge`: the hop that refuses it of what clients send.

    `sidecar`: what the model's sidecar answers to whoever is inside, 200 where it makes the path plain and serves it;
    `filtered`: the same with the EnvoyFilter of `--allow envoyfilter`.
    """

    name: str
    written: str
    edge: Hop
    sidecar: int
    filtered: int

    @property
    def inside(self) -> str:
        """For people: what holds for callers inside."""
        return "made plain and served" if self.sidecar == 200 else f"refused by the sidecar: {self.sidecar}"


SPELLINGS: tuple[Spelling, ...] = (
    Spelling("a dot segment", "/v1/x/../embeddings", "edge", 200, 200),
    Spelling("an escaped letter", "/v1/%65mbeddings", "edge", 200, 200),
    Spelling("a backslash", "/v1\\embeddings", "edge", 200, 200),
    Spelling("an empty segment", "/v1//embeddings", "edge", 403, 403),
    Spelling("an escaped slash", "/v1%2fembeddings", "edge", 403, 400),
    Spelling("an escaped backslash", "/v1%5cembeddings", "edge", 403, 400),
    Spelling("a path parameter", "/v1/embeddings;x", "edge", 403, 403),
    Spelling("an escape of an escape", "/v1/%2565mbeddings", "edge", 403, 403),
    Spelling("a NUL", "/v1/embeddings%00", "edge", 400, 400),
    Spelling("a fragment", "/v1/embeddings#x", "edge", 400, 400),
    Spelling("a slash at the end", "/v1/embeddings/", "decision service", 403, 403),
    Spelling("another case", "/V1/embeddings", "decision service", 403, 403),
)
"""None of them reaches a model as anything but an exact route that the token's permission opens."""


def spellings_table() -> str:
    """For docs/istio.md."""
    rows = ((each.name, f"`{each.written}`", each.edge, each.inside, _filtered(each)) for each in SPELLINGS)
    head = (
        "spelling",
        "of `/v1/embeddings`",
        "from clients, refused by",
        "from inside",
        "with `--allow envoyfilter`",
    )
    lines = (head, ("---",) * len(head), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _filtered(spelling: Spelling) -> str:
    return "the same" if spelling.filtered == spelling.sidecar else f"{spelling.filtered}"
