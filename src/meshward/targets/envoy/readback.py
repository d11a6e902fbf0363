"""What a running guard says about itself, judged. Pure: admin answers in, differences out.

No single sign is proof: `version_text` counts an empty RDS file as a success while the old rules run, and
`config_dump` shows an SDS secret that was rejected. So both must show the digest, and nothing may be refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from meshward.targets.envoy.resources import BUNDLE, RULES, SERVER, SVID, TOKEN_KEYS
from meshward.targets.envoy.wire import CREDENTIAL, JWT_RESOURCE

STATS_PATH = (
    "/stats?filter=version_text$|update_rejected$|update_failure$|config_fail$|dynamic_unknown_fields$"
)
DUMP_PATHS: Mapping[str, str] = {
    kind: f"/config_dump?resource={kind}"
    for kind in ("dynamic_route_configs", "dynamic_active_clusters", "ecds_filters", "dynamic_active_secrets")
}

_DUMPED = {"dynamic_route_configs": RULES, "dynamic_active_clusters": SERVER, "ecds_filters": TOKEN_KEYS}
_STATS = {
    "http.guard.rds.guard": RULES,
    "cluster_manager.cds": SERVER,
    f"extension_config_discovery.http_filter.{JWT_RESOURCE}": TOKEN_KEYS,
    f"sds.{SVID}": SVID,
    f"sds.{BUNDLE}": BUNDLE,
    f"sds.{CREDENTIAL}": CREDENTIAL,
}
_LINE = re.compile(r'(?P<scope>[^:\s]+)\.(?P<name>\w+): "?(?P<value>[^"]*)"?')


@dataclass(frozen=True, slots=True)
class GuardReport:
    """Digests by file stem, announced (`version_text`) and loaded (`config_dump`); refusals since start."""

    announced: Mapping[str, str]
    loaded: Mapping[str, str]
    refused: Mapping[str, int]


def read_report(stats: str, dumps: Mapping[str, str]) -> GuardReport:
    """`stats` answers STATS_PATH, `dumps` DUMP_PATHS by kind. Raises ValueError where a dump is not JSON."""
    announced: dict[str, str] = {}
    refused: dict[str, int] = {}
    for line in stats.splitlines():
        if (match := _LINE.fullmatch(line)) is None:
            continue
        scope, name, value = match.group("scope", "name", "value")
        if name != "version_text":
            refused[f"{scope}.{name}"] = int(value)
        elif scope in _STATS:
            announced[_STATS[scope]] = value
    loaded = {stem: version for kind, text in dumps.items() for stem, version in _loaded_versions(kind, text)}
    return GuardReport(announced, loaded, refused)


def _loaded_versions(kind: str, text: str) -> list[tuple[str, str]]:
    entries = json.loads(text).get("configs", [])
    return [
        (_DUMPED.get(kind) or str(entry.get("name")), str(entry.get("version_info", ""))) for entry in entries
    ]


def differences(
    expected: Mapping[str, str], now: GuardReport, before: GuardReport | None = None
) -> tuple[str, ...]:
    """What keeps the guard from running `expected`, one sentence each; empty: it runs it.

    `before` is the report from before the files were written; None: nothing may ever have been refused.
    """
    earlier = before.refused if before else {}
    found = [
        f"{stem}.json: the guard {verb} {seen.get(stem) or 'nothing'} instead of {version}"
        for stem, version in expected.items()
        for verb, seen in (("announces", now.announced), ("has loaded", now.loaded))
        if seen.get(stem) != version
    ]
    found += [
        f"the guard refused a file: {name} rose to {count}"
        for name, count in now.refused.items()
        if count > earlier.get(name, 0)
    ]
    return tuple(found)
