"""Many guards judged in one go: to start Envoy takes longer than to read a guard's configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence

from meshward.kit.canonical import canonical_json
from meshward.targets.envoy.wire import Json


def join_twins(twins: Sequence[bytes]) -> bytes:
    """One configuration with every listener and server of `twins` (`GuardFiles.twin`), to be judged, never to be run.

    Each twin calls its listener and its server by the same names, which one configuration can hold once: all but the
    first are numbered. Rules then name the first one's server, which is judged as much as the others are. Secrets are
    stand-ins, so any twin's will do; a filter that finds none would crash the judge.
    """
    first, *rest = [json.loads(twin) for twin in twins]
    secrets = [each for twin in (first, *rest) for each in twin["static_resources"].get("secrets", ())]
    first["static_resources"]["secrets"] = list({each["name"]: each for each in secrets}.values())
    for number, other in enumerate(rest, 2):
        for kind in ("listeners", "clusters"):
            first["static_resources"][kind] += [
                _add_number(each, number) for each in other["static_resources"][kind]
            ]
    return canonical_json(first).encode()


def _add_number(resource: Json, number: int) -> Json:
    return {**resource, "name": f"{resource['name']}-{number}"}
