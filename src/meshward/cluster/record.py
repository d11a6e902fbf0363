"""What was applied to a cluster last, kept there in a ConfigMap beside the edge: policies and sites, no secret.

`applying` is written before anything else is, so that whoever comes after a run that ended in the middle knows of it.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from dataclasses import asdict, dataclass
from io import BytesIO

from pydantic import TypeAdapter

from meshward.cluster.connection import Object, Server
from meshward.cluster.refusals import Refused
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan
from meshward.plan.placement import plan_at
from meshward.policy.parse import from_json
from meshward.policy.site import site_from_json

_FIELD = "record.json.gz"
_MOST = 64 * 1024 * 1024  # bytes, unpacked
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Applied:
    """One apply. `policy` and `site` as one line of JSON each; `time` is seconds since the epoch."""

    revision: int
    policy: str
    site: str | None
    author: str
    time: float
    reason: str

    def plan(self) -> Plan:
        """As the site names things. Raises MeshwardError (MW5072)."""
        try:
            site = None if self.site is None else site_from_json(self.site)
            return plan_at(from_json(self.policy.encode()), site)
        except (ValueError, RecursionError, MeshwardError) as error:
            raise damaged_error(
                f"revision {self.revision} in it is no policy that this release reads"
            ) from error


@dataclass(frozen=True, slots=True)
class Record:
    """`applied`: what was taken whole; `applying`: what was begun after it and has not been."""

    applied: Applied | None = None
    applying: Applied | None = None

    @property
    def basis(self) -> Applied | None:
        """What a change is told against: of a first one that was not taken whole, what was begun."""
        return self.applied or self.applying

    @property
    def next_revision(self) -> int:
        return max((each.revision for each in (self.applied, self.applying) if each), default=0) + 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where an edge's own objects are: one ConfigMap and one Lease of this name."""

    namespace: str
    name: str

    @property
    def config_map(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps/{self.name}"

    @property
    def lease(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{self.name}"


_RECORD = TypeAdapter(Record)


def read_record(server: Server, place: Place) -> Record:
    """Raises Refused, and MeshwardError (MW5072) for one that cannot be read."""
    try:
        found = server.get(place.config_map)
    except Refused as refused:
        if refused.refusal.status == 404:
            return Record()
        raise
    try:
        return _unpacked(str(found["binaryData"][_FIELD]))
    except (KeyError, TypeError, ValueError, OSError, EOFError, RecursionError, zlib.error) as error:
        raise damaged_error(f"`{place.config_map}` holds no record ({type(error).__name__})") from None


def write_record(server: Server, place: Place, record: Record, owner: Object) -> None:
    """`owner`: the marks that its metadata has. Raises Refused."""
    meta = {**owner, "name": place.name, "namespace": place.namespace}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta,
        "binaryData": {_FIELD: _packed(record)},
    }
    server.apply(place.config_map, body, {"fieldManager": "meshward", "force": "true"})


def damaged_error(why: str) -> MeshwardError:
    return MeshwardError(codes.RECORD_UNREADABLE, f"what was applied here before is not known: {why}")


def _packed(record: Record) -> str:
    text = json.dumps({"format": _FORMAT, **asdict(record)}, sort_keys=True)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _unpacked(text: str) -> Record:
    with gzip.GzipFile(fileobj=BytesIO(base64.b64decode(text, validate=True))) as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise ValueError("too long")
    value = json.loads(data)
    if not isinstance(value, dict) or value.pop("format") != _FORMAT:
        raise ValueError("of another release")
    return _RECORD.validate_python(value, strict=False)
