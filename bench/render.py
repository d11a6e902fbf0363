"""Rendering a thousand models for a mesh of Istio: what it costs, whether twice the same, how large its objects are."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bench.figures import Verdict, middle
from bench.report import Section, say, table
from bench.scale import GRANTS, MODELS, NOW, ROLES, policy
from meshward.check.checking import check
from meshward.kit.rendered import write_rendered
from meshward.plan.resolve import resolve
from meshward.policy.parse import parse
from meshward.policy.tree import Source
from meshward.render.compose import render_site
from meshward.render.wishes import Wishes
from meshward.tokens.keys import make_key

MOST_RULES, MOST_BYTES = 512, 1_000_000  # of one object: what Istio's CRD and etcd take
_TEXT = """\
{models:,} models, {grants:,} grants and {roles} roles, without a site: text to policy, its tests and lints, the proof
that no name widens, the proof of each path, every object as YAML; then the files written, each by a rename. CPU time
of the one process that does it; medians. Objects are counted in what was rendered.
"""


def measure(directory: Path, rounds: int) -> Section:
    text = json.dumps(policy(MODELS, GRANTS, ROLES, directory / "jwks.json", False)).encode()
    wishes = Wishes("istio", keys=(make_key().public_jwk(),))
    rendered, written, digests = [], [], set()
    for number in range(rounds):
        began = time.process_time()
        files = _render(text, wishes)
        rendered.append(time.process_time() - began)
        write_rendered(directory / f"out{number}", files)
        written.append(time.process_time() - began)
        digests.add(_digest(files))
        say(f"render {number + 1}/{rounds}: {rendered[-1]:.2f} s, written after {written[-1]:.2f} s")
    objects = [each for each in _documents(files) if each and each.get("kind") != "Kustomization"]
    rules = [len(each["spec"].get("rules", ())) for each in objects if each["kind"] == "AuthorizationPolicy"]
    sizes = [len(json.dumps(each)) for each in objects]
    verdicts = [
        Verdict(f"{MODELS:,} models x {GRANTS:,} grants rendered for Istio, CPU", middle(rendered), 5, "s"),
        Verdict("rendered and written, CPU", middle(written), 5, "s"),
        Verdict(f"different results of {rounds} renderings, beyond one", len(digests) - 1, 0, ""),
        Verdict("rules of the largest AuthorizationPolicy", max(rules), MOST_RULES, ""),
        Verdict("bytes of the largest object, as JSON", max(sizes), MOST_BYTES, ""),
    ]
    lines = [
        *table(("what", "target", "measured", "verdict"), [each.cells() for each in verdicts]),
        "",
        f"{len(objects):,} objects in {len(files):,} files, {sum(map(len, files.values())) / 1e6:.1f} MB.",
        "",
        *_TEXT.format(models=MODELS, grants=GRANTS, roles=ROLES).splitlines(),
    ]
    return Section("render", "Rendering for a mesh", lines)


def rendered_files(text: bytes, keys: tuple[dict[str, str], ...]) -> Mapping[str, bytes]:
    """What Istio gets of the policy `text`."""
    return _render(text, Wishes("istio", keys=keys))


def _render(text: bytes, wishes: Wishes) -> Mapping[str, bytes]:
    document = parse([Source("policy", text)])
    check(document, NOW)
    return render_site(resolve(document.policy), None, wishes, lua={}).files


def _digest(files: Mapping[str, bytes]) -> str:
    whole = sha256()
    for path in sorted(files):
        whole.update(f"{path} {len(files[path])}\n".encode() + files[path])
    return whole.hexdigest()


def _documents(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    texts = (content for path, content in files.items() if path.endswith(".yaml") and "/values" not in path)
    return [each for text in texts for each in yaml.load_all(text, loader)]
