"""STATE/counters.json: what must be remembered from one start to the next. Numbers only ever rise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from meshward.audit.anchor import Mark
from meshward.kit.statefile import StateFile, unchanged


@dataclass(frozen=True, slots=True)
class Counters:
    """`revision` counts policies that ran or were to run, `epoch` everything that ends cached decisions, `generation`
    certificates. `accepted`: the highest revision that ran; of earlier releases nobody knows (0). `revocations`: the
    digests that the list of the revoked may have (`revocation_store`); none before the first start. `may_run`: the
    revision that runs by its number and digest, and while another one becomes that, both; of earlier releases none.
    `records`: how far the records were, at the last start, change or end.
    """

    revision: int = 0
    digest: str = ""
    epoch: int = 0
    generation: int = 0
    slots: Mapping[str, int] = field(default_factory=dict)
    accepted: int = 0
    revocations: tuple[str, ...] = ()
    may_run: Mapping[str, str] = field(default_factory=dict)
    records: Mark | None = None

    def __post_init__(self) -> None:
        """Raises ValueError where two guards would answer in one place, or numbers count backwards."""
        slots = list(self.slots.values())
        if (
            len({*slots}) < len(slots)
            or min(
                self.revision, self.epoch, self.generation, self.accepted, *slots, *map(int, self.may_run), 0
            )
            < 0
        ):
            raise ValueError("counted wrongly")

    def after_start(self, digest: str, slots: Mapping[str, int]) -> Counters:
        """The counters after a start with the policy of `digest`: the same policy is the same revision."""
        return replace(
            self,
            revision=self.revision if digest == self.digest else self.revision + 1,
            digest=digest,
            epoch=self.epoch + 1,
            generation=self.generation + 1,
            slots=dict(slots),
        )

    def renewed(self) -> Counters:
        """The counters after certificates were issued anew."""
        return replace(self, generation=self.generation + 1)

    def after_acceptance(self) -> Counters:
        """The counters once the revision is what runs."""
        return replace(self, accepted=self.revision, may_run={str(self.revision): self.digest})

    def also_running(self, revision: int, digest: str) -> Counters:
        """The counters while that revision becomes what runs."""
        return replace(self, may_run={**self.may_run, str(revision): digest})

    def also_naming(self, digest: str) -> Counters:
        """The counters while the list of the revoked becomes the one with `digest`."""
        return replace(self, revocations=tuple(dict.fromkeys((*self.revocations, digest))))

    def naming(self, digest: str) -> Counters:
        """The counters when it has become that."""
        return replace(self, revocations=(digest,))

    def save(self, state: Path) -> None:
        """Raises OSError."""
        COUNTERS.write(state, self)


NO_TWICE = "Restore it, or use a new state directory: revisions must not be numbered twice."
COUNTERS = StateFile(
    "counters.json",
    Counters,
    place="STATE",
    what="how far revisions, epochs, certificates and records are counted, each guard's slot, which revision and which "
    "list of the revoked stand",
    remedy=NO_TWICE,
    former="book.json",
    may_lack=frozenset({"accepted", "revocations", "may_run", "records"}),
    migrations=(unchanged, unchanged, unchanged),
)


def load_counters(state: Path) -> Counters:
    """Raises MeshwardError where the file cannot be used."""
    return COUNTERS.read(state) or Counters()
