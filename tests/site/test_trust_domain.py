"""A site's own trust domain, where every version is elsewhere or every one is here: both are an instance."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from meshward.policy.site import Site, site_to_json
from meshward.testing.waiting import eventually
from tests.hostile.conftest import write_hostile
from tests.site.conftest import SIDECAR, SidecarStandIn, service
from tests.stack.running import running


@pytest.mark.parametrize("away", [True, False])
def test_names_follow_the_site(short_dir: Path, sidecar: SidecarStandIn, away: bool) -> None:
    models = {
        name: {"v1": {**service(sidecar.port), "service": name, "select": {"app": name}}}
        for name in ("m1", "m2")
    }
    given = {"version": 1, "trust_domain": "cluster.test", "edge": {"sidecar": SIDECAR}}
    site = Site.model_validate({**given, "models": models if away else {}}, by_alias=True)
    directory = short_dir / ("a" if away else "b")
    directory.mkdir()
    file = directory / "site.yaml"
    file.write_text(site_to_json(site))
    with running(directory, write_hostile, options=("--site", str(file))) as stack:
        token = stack.issuer.token("alice", ["users"])
        answer = stack.call("GET", "/m/m2/v1/public", token)
        assert answer.status == 200
        told = sidecar.asked[-1][1]["txn-token"] if away else ""
        assert stack.instance.trust_domain == "cluster.test"
        assert len(stack.instance.guards) == (0 if away else 2)
        if away:
            part = told.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            assert claims["aud"] == ["cluster.test", "m2.infer"]
            assert claims["req_wl"] == "spiffe://cluster.test/ns/edge/sa/nginx"
        else:
            assert len(stack.models["m2/v1"].taken()) == 1
        issued = stack.command("svid", "scorer", "--out", str(directory / "svid"))
        assert issued.returncode == 0, issued.stderr
        certificate = directory / "svid" / "svid.pem"
        assert stack.call("GET", "/m/m1/v1/public", certificate=certificate).status == 200
        log = eventually(lambda: stack.log.read_text(), what="its words")
        assert ("speaks as the edge" in log) == away
