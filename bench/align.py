"""Aligning a thousand models with a mesh of Istio: what it costs to read what runs there, and that it is silent."""

from __future__ import annotations

import json
import time
from pathlib import Path

from bench.figures import Verdict, middle
from bench.render import rendered_files
from bench.report import Section, say, table
from bench.scale import GRANTS, MODELS, ROLES, policy
from meshward.align.compare import align
from meshward.align.documents import read_data
from meshward.plan.placement import place
from meshward.plan.resolve import resolve
from meshward.policy.parse import parse
from meshward.policy.tree import Source
from meshward.tokens.keys import make_key

_TEXT = """\
{models:,} models, {grants:,} grants and {roles} roles, without a site: text to plan, {files:,} files to objects, every
sidecar read, every route tried, every rule looked at. CPU time of the one process that does it; medians.
"""


def measure(directory: Path, rounds: int) -> Section:
    text = json.dumps(policy(MODELS, GRANTS, ROLES, directory / "jwks.json", False)).encode()
    keys = (make_key().public_jwk(),)
    files = rendered_files(text, keys)
    spent, findings = [], 0
    for number in range(rounds):
        began = time.process_time()
        placed = place(resolve(parse([Source("policy", text)]).policy), None)
        named = (
            (path, data) for path, data in files.items() if path.endswith(".yaml") and "/values" not in path
        )
        objects = [each for path, data in named for each in read_data(path, data)]
        findings += len(align(placed, objects, keys).findings)
        spent.append(time.process_time() - began)
        say(f"align {number + 1}/{rounds}: {spent[-1]:.2f} s")
    verdicts = [
        Verdict(f"{MODELS:,} models x {GRANTS:,} grants aligned with Istio, CPU", middle(spent), 10, "s"),
        Verdict("findings of what was just rendered", findings, 0, ""),
    ]
    lines = [
        *table(("what", "target", "measured", "verdict"), [each.cells() for each in verdicts]),
        "",
        *_TEXT.format(models=MODELS, grants=GRANTS, roles=ROLES, files=len(files)).splitlines(),
    ]
    return Section("align", "Aligning with a mesh", lines)
