"""The built-in server kinds: one meaning for each route, and nothing open that could change a server."""

from __future__ import annotations

import pytest
from policy_texts import BASE, read

from meshward.policy.grammar import parse_route
from meshward.policy.schema import ACTIONS, Server
from meshward.policy.servers import BUILT_IN, listed_routes, routes_of, server_kinds
from meshward.policy.values import Route


@pytest.mark.parametrize("kind", BUILT_IN)
def test_routes_have_one_meaning(kind):
    server = BUILT_IN[kind]
    routes = [route for _, _, route in listed_routes(server)]
    assert len(routes) == len(set(routes)) == len(routes_of(server)) > 0
    assert server.health.method == "GET"
    assert server.health not in routes
    assert Server.model_validate(server.model_dump(mode="json")) == server


@pytest.mark.parametrize(
    ("kind", "route", "action"),
    [
        ("tei", "POST /", "infer"),
        ("tei", "POST /embed", "infer"),
        ("tei", "POST /v1/embeddings", "infer"),
        ("tei", "GET /info", "describe"),
        ("tei", "POST /tokenize", "describe"),
        ("tei", "GET /metrics", "observe"),
        ("tgi", "POST /generate_stream", "infer"),
        ("vllm", "POST /v1/chat/completions", "infer"),
        ("vllm", "GET /v1/models", "describe"),
        ("vllm", "POST /collective_rpc", "manage"),
        ("vllm", "POST /update_weights", "manage"),
        ("vllm", "POST /v1/load_lora_adapter", "manage"),
        ("transformers", "POST /load_model", "manage"),
        ("transformers", "POST /reset", "manage"),
        ("inference-endpoint", "POST /", "infer"),
    ],
)
def test_what_a_route_means(kind, route, action):
    assert routes_of(BUILT_IN[kind])[parse_route(route)] == action


def test_what_is_not_listed_does_not_exist():
    everything = {route.path for server in BUILT_IN.values() for route in routes_of(server)}
    assert not everything & {
        "/docs",
        "/openapi.json",
        "/inference/v1/generate",
        "/start_profile",
        "/health",
        "/ping",
    }


def test_no_kind_infers_by_a_managing_route():
    changing = {"/pause", "/sleep", "/load_model", "/reset", "/update_weights", "/collective_rpc"}
    for server in BUILT_IN.values():
        assert all(
            action == "manage" for route, action in routes_of(server).items() if route.path in changing
        )


def test_kinds_of_a_policy_stand_beside_the_built_in_ones():
    kinds = server_kinds(read(BASE).policy)
    assert set(kinds) == {*BUILT_IN, "own"}
    assert routes_of(kinds["own"]) == {Route("POST", "/ask"): "infer", Route("GET", "/info"): "describe"}
    assert [action for action, _, _ in listed_routes(kinds["own"])] == [
        a for a in ACTIONS if getattr(kinds["own"], a)
    ]
