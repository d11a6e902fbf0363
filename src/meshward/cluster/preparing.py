"""What a cluster is to have, what it has, and what the change is. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from meshward.cluster.connection import Object, Server
from meshward.cluster.inventory import Inventory, take_stock
from meshward.cluster.manifest import Key, by_key
from meshward.cluster.openings import opened_by_removal
from meshward.cluster.order import Step, plan_steps
from meshward.cluster.ownership import OWNER, field_changes, owned_by
from meshward.cluster.record import Place, Record, damaged_error, read_record
from meshward.cluster.refusals import Refused, refused_error
from meshward.compare.change import Change, compare
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan


@dataclass(frozen=True)
class Wanted:
    """What the edge `owner`, a SPIFFE ID, is to have in a cluster: `plan`, as `policy` says it at `site`, as objects.

    `policy` and `site` are one line of JSON each. `place`: of the edge's own ConfigMap and Lease. `writer`: the only
    user who may write afterwards, where that is asked for.
    """

    bodies: tuple[Object, ...]
    owner: str
    place: Place
    root_namespace: str
    plan: Plan
    policy: str
    site: str | None
    writer: str | None = None

    @cached_property
    def objects(self) -> dict[Key, Object]:
        return by_key(owned_by(body, self.owner) for body in self.bodies)


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of one object: `create`, `change` at `fields`, or `remove`."""

    do: str
    key: Key
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """`live`: what is there of ours, as somebody would write it. `unknown`: why nobody can tell who gains, if so."""

    stock: Inventory
    live: Mapping[Key, Object]
    steps: tuple[Step, ...]
    record: Record
    change: Change
    unknown: str = ""
    edits: tuple[Edit, ...] = field(default=())

    @property
    def needs_leave(self) -> bool:
        """Whether it widens what was applied, or nobody can tell. What comes first needs none."""
        return bool(self.unknown or (self.record.basis and self.change.widening))


def prepare(server: Server, wanted: Wanted, *, takeover: bool = False) -> Prepared:
    """Raises MeshwardError for what cannot be read, is not served, or is somebody else's."""
    record, unknown = _known(server, wanted)
    _require_site(record, wanted)
    objects = wanted.objects
    stock = take_stock(server, objects, wanted.owner, takeover=takeover)
    if not unknown and record.basis is None and (whose := _edges(stock)):
        missing = f"objects of `{'`, `'.join(whose)}` are here, and `{wanted.place.config_map}` says nothing of them"
        unknown = damaged_error(missing).message
    live = stock.live(objects)
    old = record.basis.plan() if record.basis and not unknown else None
    change = compare(old, wanted.plan)
    widening = (*change.widening, *opened_by_removal(live, objects, wanted.root_namespace))
    return Prepared(
        stock,
        live,
        plan_steps(live, objects, wanted.root_namespace),
        record,
        replace(change, widening=widening),
        unknown,
        tuple(_edits(live, objects)),
    )


def _known(server: Server, wanted: Wanted) -> tuple[Record, str]:
    try:
        record = read_record(server, wanted.place)
        if record.basis is not None:
            record.basis.plan()
    except Refused as refused:
        what = f"the record `{wanted.place.name}` in namespace `{wanted.place.namespace}`"
        raise refused_error(refused.refusal, what, server.name) from None
    except MeshwardError as error:
        if error.code is not codes.RECORD_UNREADABLE:
            raise
        return Record(), error.message
    return record, ""


def _edges(stock: Inventory) -> list[str]:
    """Whose objects are at places of ours, by their marks: another edge's too, where they are to be taken over."""
    named = (((each["metadata"].get("annotations") or {}).get(OWNER)) for each in stock.raw.values())
    return sorted({each for each in named if each})


def _require_site(record: Record, wanted: Wanted) -> None:
    """A site that was forgotten is no convention."""
    if wanted.site is None and record.applied is not None and record.applied.site is not None:
        what = f"revision {record.applied.revision}, which this cluster has, was applied with a site"
        raise MeshwardError(codes.SITE_FORGOTTEN, what)


def _edits(live: Mapping[Key, Object], wanted: Mapping[Key, Object]) -> list[Edit]:
    found = []
    for key in sorted({*live, *wanted}):
        old, new = live.get(key), wanted.get(key)
        if old is None:
            found.append(Edit("create", key))
        elif new is None:
            found.append(Edit("remove", key))
        elif old != new:
            found.append(Edit("change", key, tuple(field_changes(old, new))))
    return found
