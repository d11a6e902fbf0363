"""What became of requests to a version that has no guard here: counted in the records, as the edge told it.

An edge knows less than a guard: a 502, 503 or 504 may be its own, the hop's or the model's. To who looks whether a
version is fit, that is all one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from meshward.audit.join import Record
from meshward.audit.records import Records
from meshward.kit.errors import MeshwardError
from meshward.targets.envoy.counts import Counts


@dataclass(slots=True)
class ToldAnswers:
    """Of one version, by the DNS name under which lines tell of it. Read on from where it was read last."""

    state: Path
    dns_name: str
    counts: Counts = field(default_factory=Counts)
    last: int | None = None  # number of the last record that was looked at

    def read(self) -> Counts | None:
        """Since the first reading. None: the records cannot be read just now."""
        try:
            store = Records(self.state)
        except MeshwardError:
            return None
        try:
            if self.last is None:
                self.last = store.last()
            for number, record in store.after(self.last):
                self.last = number
                self.counts = self.counts + count(record, self.dns_name)
        except MeshwardError:
            return None
        finally:
            store.close()
        return self.counts


def count(record: Record, dns_name: str) -> Counts:
    """One request, if the edge sent it there; else nothing."""
    edge = record.edge
    if edge is None or not edge.elsewhere or edge.guard != dns_name or record.status == 499:
        return Counts()
    if record.status >= 500:
        return Counts(completed=1, bad=1, errors=1)
    broken = not record.complete and edge.done == "OK"  # a client that left is no fault of the version's
    return Counts(completed=1, broken=int(broken))
