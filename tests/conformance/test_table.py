"""Invariant 3: edge and guard decide the same as the definition, for every role x model x action x route.

What the world's own rules permit is written by hand; `test_definition.py` asks the definition for the same table.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshward.apply.sources import read_policy
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.values import Route
from tests.conformance import world
from tests.stack import policies
from tests.stack.inside import Inside, knock
from tests.stack.live import change_rules
from tests.stack.running import Stack, running

GUARD_REFUSALS = {401, 403, 404}


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    def write(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
        text, sockets = world.policy(jwks, port, directory)
        policies.write(directory, text)
        return sockets

    with running(short_dir, write) as started:
        yield started


@pytest.fixture(scope="module")
def certificates(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Key and chain of each workload's SVID."""
    made = {}
    for name, workload in world.WORKLOADS.items():
        made[name] = tmp_path_factory.mktemp(name) / "svid.pem"
        made[name].write_text(Inside(stack).svid(workload["id"]).key_and_chain().reveal())
    return made


@pytest.fixture(scope="module")
def plan(stack: Stack) -> Plan:
    return resolve(read_policy(stack.policy).policy)


def test_the_edge_decides_as_the_definition_does(
    stack: Stack, plan: Plan, table: list[dict[str, str]], certificates: dict[str, Path]
) -> None:
    """Through nginx: what is permitted reaches the model once and unchanged; what is not never does."""
    rows = _rows(plan)
    for verdict in (True, False):  # each condition opens something and closes something
        assert {"tenant", "roamer", "guest", "robot", "job"} <= {
            r.person for r in rows if r.expected is verdict
        }
    for row in rows:
        seen = _through_the_edge(stack, row, certificates)
        table.append(row.verdicts("edge", seen))
        assert seen == row.expected, row


def test_the_guard_decides_as_the_definition_does(
    stack: Stack, plan: Plan, table: list[dict[str, str]]
) -> None:
    """At the guard alone, with the edge's key stolen: each token that the person could ever get, on each route."""
    inside = Inside(stack)
    svid, root, now = inside.svid(), stack.instance.root_certificate, int(time.time())
    tokens: dict[tuple[str, str], list[str | None]] = {}
    for row in _rows(plan):
        key = (row.person, row.model)
        if key not in tokens:
            who = world.identity(row.person)
            held = world.permissions(plan, who, row.model, now)
            tokens[key] = [inside.txn(permission, who.name) for permission in held] or [None]
        seen = False
        for token in tokens[key]:
            reply = knock(
                stack.guard(row.model), root, row.route.method, row.route.path, svid=svid, txn=token
            )
            arrived = stack.models[f"{row.model}/v1"].taken()
            assert reply is not None and (reply.status == 200) == bool(arrived), (row, reply, arrived)
            assert reply.status == 200 or reply.status in GUARD_REFUSALS, (row, reply)
            seen = seen or bool(arrived)
        table.append(row.verdicts("guard", seen))
        assert seen == row.expected, row


def test_a_permission_of_one_model_opens_no_other(stack: Stack, plan: Plan) -> None:
    """Every permission of every model, tried at every guard on every route of another action or model: nothing."""
    inside = Inside(stack)
    svid, root = inside.svid(), stack.instance.root_certificate
    for target in plan.models.values():
        for model in plan.models:
            for action in ("infer", "describe", "observe", "manage"):
                token = inside.txn(f"{model}.{action}")
                for route, needs in target.versions[0].routes.items():
                    if (model, action) == (target.name, needs):
                        continue
                    reply = knock(
                        stack.guard(target.name), root, route.method, route.path, svid=svid, txn=token
                    )
                    assert reply is not None and reply.status == 403, (
                        model,
                        action,
                        target.name,
                        route,
                        reply,
                    )
    assert stack.taken() == []


RULES = st.lists(
    st.fixed_dictionaries(
        {
            "roles": st.lists(
                st.sampled_from(["reader", "chatter", "admin", "tenant", "batch"]),
                min_size=1,
                max_size=2,
                unique=True,
            ),
            "models": st.one_of(
                st.just("all"),
                st.lists(st.sampled_from(sorted(world.MODELS)), min_size=1, max_size=2, unique=True),
                st.just({"labels": {"data": "public"}}),
                st.just({"same": ["org"]}),
            ),
            "actions": st.lists(
                st.sampled_from(["infer", "describe", "observe", "manage"]),
                min_size=1,
                max_size=3,
                unique=True,
            ),
        }
    ),
    max_size=4,
)


@settings(max_examples=8, derandomize=True, suppress_health_check=list(HealthCheck))
@given(grants=RULES, denies=RULES)
def test_other_policies(
    stack: Stack, certificates: dict[str, Path], grants: list[dict[str, Any]], denies: list[dict[str, Any]]
) -> None:
    """Policies that nobody thought of, made live in the running instance; a sample of the table each."""
    text, _ = world.policy(stack.policy.with_name("jwks.json"), stack.port, stack.policy.parent)
    text["grants"] = [{"id": f"g{index}", **grant} for index, grant in enumerate(grants)]
    text["denies"] = [{"id": f"d{index}", **deny} for index, deny in enumerate(denies)]
    try:
        plan = change_rules(stack, text)
        rows = random.Random(0).sample(_decided_rows(plan), 60)
        for row in rows:
            assert _through_the_edge(stack, row, certificates) == row.expected, (row, grants, denies)
    finally:
        change_rules(
            stack, world.policy(stack.policy.with_name("jwks.json"), stack.port, stack.policy.parent)[0]
        )


class Row:
    """One line of the table."""

    def __init__(self, plan: Plan, person: str, model: str, route: Route, expected: bool) -> None:
        self.person, self.model, self.route, self.expected = person, model, route, expected
        self.action = plan.models[model].action_of(route.method, route.path) or "-"

    def verdicts(self, hop: str, seen: bool) -> dict[str, str]:
        words = {True: "permit", False: "deny"}
        place = {"person": self.person, "model": self.model, "action": self.action}
        route = f"{self.route.method} {self.route.path}"
        return {**place, "route": route, "expected": words[self.expected], "hop": hop, "verdict": words[seen]}

    def __repr__(self) -> str:
        return f"{self.person} {self.model} {self.action} {self.route} expected={self.expected}"


def _rows(plan: Plan) -> list[Row]:
    """The whole table under the world's own rules, expected by hand."""
    return [Row(plan, *case, world.is_permitted(plan, *case)) for case in _cases(plan)]


def _decided_rows(plan: Plan) -> list[Row]:
    """The whole table under rules that nobody thought of, expected by the definition."""
    now = int(time.time())
    return [
        Row(plan, person, model, route, world.allowed(plan, world.identity(person), model, route, now))
        for person, model, route in _cases(plan)
    ]


def _cases(plan: Plan) -> Iterator[tuple[str, str, Route]]:
    return product(world.PEOPLE, plan.models, world.every_route(plan))


def _through_the_edge(stack: Stack, row: Row, certificates: dict[str, Path]) -> bool:
    body = {"probe": row.person} if row.route.method == "POST" else None
    certificate, token = certificates.get(row.person), None
    if certificate is None:
        token = stack.issuer.token(row.person, world.PEOPLE[row.person], **world.CLAIMS.get(row.person, {}))
    path = f"/m/{row.model}{row.route.path}"
    reply = stack.call(row.route.method, path, token, body, certificate=certificate)
    arrived = stack.taken()
    if reply.status == 200:
        assert [(each.method, each.target) for each in arrived] == [(row.route.method, row.route.path)], row
        return True
    assert reply.status in (403, 404), (row, reply)
    assert arrived == [], (row, reply, arrived)
    return False
