"""Ejected versions are left out of a route while another one can answer it; what a route means never changes by it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshward.edge.decision_state import DecisionState, load
from meshward.edge.instance_view import InstanceView, load_text, save_text
from meshward.kit.errors import MeshwardError
from tests.edge.mesh import POLICY, Mesh


def state(directory: Path, *ejected: str, change: Any = None) -> DecisionState:
    policy = copy.deepcopy(POLICY)
    if change is not None:
        change(policy)
    Mesh(directory).write(policy)
    file = directory / "live.json"
    file.write_text(save_text(replace(load_text(file.read_text()), ejected=ejected)))
    return load(directory)


def route(found: DecisionState, path: str = "/embed") -> str:
    return found.served["minilm"]["POST", path].route


def test_an_ejected_version_is_left_out_and_the_last_one_is_not(tmp_path: Path) -> None:
    assert route(state(tmp_path)) == "1048576|90 00 v1.minilm.mesh.test|10 01 v2.minilm.mesh.test"
    assert route(state(tmp_path, "minilm/v2")) == "1048576|90 00 v1.minilm.mesh.test"
    assert route(state(tmp_path, "minilm/v1")) == "1048576|10 01 v2.minilm.mesh.test"
    assert route(state(tmp_path, "minilm/v1", "minilm/v2")) == route(state(tmp_path))
    assert route(state(tmp_path, "minilm/v3", "other/v1", "no/no", "")) == route(state(tmp_path))


def test_where_only_the_ejected_one_has_a_route_it_keeps_it_and_its_meaning(tmp_path: Path) -> None:
    def change(policy: dict[str, Any]) -> None:
        policy["servers"]["odd"] = {"manage": ["POST /embed"], "infer": ["POST /odd"]}
        policy["models"]["minilm"]["versions"]["v2"]["server"] = "odd"

    for ejected in ((), ("minilm/v1",), ("minilm/v2",)):
        found = state(tmp_path, *ejected, change=change)
        assert found.served["minilm"]["POST", "/embed"].action == "infer", "not what v2 means by it"
        assert route(found) == "1048576|90 00 v1.minilm.mesh.test"
        assert route(found, "/odd") == "1048576|10 01 v2.minilm.mesh.test"


@pytest.mark.parametrize("value", ['"m/v"', "null", "[1]", "[null]", "{}", '[["m/v"]]'])
def test_only_a_list_of_texts_is_read(value: str) -> None:
    live = InstanceView(1, "mesh.test", "https://a", {}, "", "", ("minilm/v1",))
    text = save_text(live)
    assert load_text(text) == live
    with pytest.raises(MeshwardError):
        load_text(json.dumps({**json.loads(text), "ejected": json.loads(value)}))
