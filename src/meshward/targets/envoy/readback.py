"""What a running guard says about itself, judged. Pure: admin answers in, differences out.

No single sign is proof: `version_text` counts an empty RDS file as a success while the old rules run, and
`config_dump` shows an SDS secret that was rejected. So both must show the digest, and nothing may be refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from meshward.kit.strict import json_object
from meshward.kit.text import quoted
from meshward.targets.envoy.counts import read_count
from meshward.targets.envoy.resources import BUNDLE, RULES, SERVER, SVID, TOKEN_KEYS
from meshward.targets.envoy.wire import CREDENTIAL, JWT_RESOURCE

STATS_PATH = (
    "/stats?filter=version_text$|update_rejected$|update_failure$|config_fail$|dynamic_unknown_fields$"
)
DUMP_PATHS: Mapping[str, str] = {
    kind: f"/config_dump?resource={kind}&mask={mask}"
    for kind, mask in {
        "dynamic_route_configs": "version_info",
        "dynamic_active_clusters": "version_info",
        "ecds_filters": "version_info",
        "dynamic_active_secrets": "name,version_info",
    }.items()
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
_SAID = 5  # counters that are named
_LINE = re.compile(r'(?P<scope>[^:\s]+)\.(?P<name>\w+): "?(?P<value>[^"]*)"?')


@dataclass(frozen=True, slots=True)
class GuardReport:
    """Digests by file stem, announced (`version_text`) and loaded (`config_dump`); refusals since start."""

    announced: Mapping[str, str]
    loaded: Mapping[str, str]
    refused: Mapping[str, int]


def read_report(stats: str, dumps: Mapping[str, str]) -> GuardReport:
    """`stats` answers STATS_PATH, `dumps` DUMP_PATHS by kind. Raises ValueError for what Envoy does not say."""
    announced: dict[str, str] = {}
    refused: dict[str, int] = {}
    for line in stats.splitlines():
        if (match := _LINE.fullmatch(line)) is None:
            continue
        scope, name, value = match.group("scope", "name", "value")
        if name != "version_text":
            refused[f"{scope}.{name}"] = read_count(value)
        elif scope in _STATS:
            announced[_STATS[scope]] = value
    loaded = {stem: version for kind, text in dumps.items() for stem, version in _loaded_versions(kind, text)}
    return GuardReport(announced, loaded, refused)


def _loaded_versions(kind: str, text: str) -> list[tuple[str, str]]:
    entries = json_object(text.encode()).get("configs", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("it does not say what it has loaded")
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
        f"{stem}.json: the guard {verb} {_shown(seen.get(stem))} instead of {version}"
        for stem, version in expected.items()
        for verb, seen in (("announces", now.announced), ("has loaded", now.loaded))
        if seen.get(stem) != version
    ]
    risen = [name for name, count in now.refused.items() if count > earlier.get(name, 0)]
    found += [
        f"the guard refused a file: {quoted(name)} rose to {now.refused[name]}" for name in risen[:_SAID]
    ]
    return tuple(found)


def _shown(version: str | None) -> str:
    return quoted(version) if version else "nothing"
