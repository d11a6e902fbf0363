"""The server kinds that meshward knows: which exact routes each has, and what they mean.

A kind lists everything that a client may reach. What is left out does not exist for clients: documentation
pages, profilers, and routes that we cannot vouch for (vLLM's /inference/v1/generate, `transformers serve`'s
/v1/systemone). Health routes are for meshward itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from meshward.policy.schema import ACTIONS, Action, BodyModel, Policy, Server
from meshward.policy.values import Route

GENERATED = "generated"
"""The built-in credential: a key that the guard sends and the server demands."""


HOSTED = "inference-endpoint"
"""The kind of a hosted Inference Endpoint: it is where its URL says, in every environment."""


def _post(*paths: str) -> list[str]:
    return [f"POST {path}" for path in paths]


_CHAT = ("/v1/chat/completions", "/v1/completions")
_EMBED = (
    "/embed",
    "/embed_all",
    "/embed_sparse",
    "/predict",
    "/rerank",
    "/similarity",
    "/embeddings",
    "/v1/embeddings",
)


def _kind(**given: list[str] | str) -> Server:
    return Server.model_validate(given)


BUILT_IN: Mapping[str, Server] = MappingProxyType(
    {
        "tei": _kind(
            infer=_post("/", *_EMBED, "/invocations", "/vertex"),
            describe=["GET /info", *_post("/tokenize", "/decode")],
            observe=["GET /metrics"],
            health="GET /health",
        ),
        "tgi": _kind(
            infer=_post("/", "/generate", "/generate_stream", *_CHAT, "/invocations", "/vertex"),
            describe=["GET /info", "GET /v1/models", *_post("/tokenize", "/chat_tokenize")],
            observe=["GET /metrics"],
            health="GET /health",
        ),
        "vllm": _kind(
            infer=_post(
                *_CHAT,
                "/v1/responses",
                "/v1/messages",
                "/v1/embeddings",
                "/v1/score",
                "/v1/rerank",
                "/v1/audio/transcriptions",
                "/v1/audio/translations",
                "/v2/embed",
                "/v2/rerank",
                "/pooling",
                "/classify",
                "/score",
                "/rerank",
                "/invocations",
            ),
            describe=["GET /v1/models", "GET /version", *_post("/tokenize", "/detokenize")],
            observe=["GET /metrics", "GET /load"],
            manage=_post(
                "/pause",
                "/resume",
                "/sleep",
                "/wake_up",
                "/scale_elastic_ep",
                "/update_weights",
                "/init_weight_transfer_engine",
                "/collective_rpc",
                "/reset_prefix_cache",
                "/v1/load_lora_adapter",
                "/v1/unload_lora_adapter",
            ),
            health="GET /health",
        ),
        "transformers": _kind(
            infer=_post(*_CHAT, "/v1/responses", "/v1/audio/transcriptions"),
            describe=["GET /v1/models"],
            manage=_post("/load_model", "/reset"),
            health="GET /health",
        ),
        # Any of the above may run there; the hosted endpoint has no route that changes it.
        HOSTED: _kind(
            infer=_post("/", "/generate", "/generate_stream", *_CHAT, "/v1/responses", *_EMBED),
            describe=["GET /info", "GET /v1/models", *_post("/tokenize", "/decode")],
            observe=["GET /metrics"],
            health="GET /health",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Naming:
    """What a kind of server makes of a body's `model`, and on which of its routes of `infer` and `describe` there is
    one. `observe` and `manage` are about the whole server, whatever a body says.
    """

    does: BodyModel
    where: Literal["everywhere", "v1", "nowhere"] = "everywhere"

    def is_on(self, route: Route, action: Action) -> bool:
        """Whether the body of such a request is looked at for the model that it names."""
        below = self.where == "everywhere" or (self.where == "v1" and route.path.startswith("/v1/"))
        return below and action in NAMING and route.method in WITH_BODY


NOT_KNOWN = Naming("unknown")
NAMING: tuple[Action, ...] = ("infer", "describe")
"""The actions whose requests are about one model of their server."""
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_NAMING: Mapping[str, Naming] = MappingProxyType(
    {
        "tei": Naming("ignores", "v1"),
        "tgi": Naming("ignores", "v1"),
        "vllm": Naming("selects"),
        "transformers": Naming("selects"),
        HOSTED: Naming("ignores"),
    }
)


def naming_of(kind: str, server: Server) -> Naming:
    """Of a kind that is not built in: what its author says."""
    where: Literal["everywhere", "nowhere"] = "nowhere" if server.body_model == "ignores" else "everywhere"
    return _NAMING.get(kind) or Naming(server.body_model, where)


def server_kinds(policy: Policy) -> dict[str, Server]:
    """The built-in server kinds and the policy's own, by name."""
    return {**policy.servers, **BUILT_IN}


def routes_of(server: Server) -> dict[Route, Action]:
    """What each exact route of a server kind means."""
    return {route: action for action, _, route in listed_routes(server)}


def listed_routes(server: Server) -> Iterator[tuple[Action, int, Route]]:
    """Every route as listed: its action, its place in that action's list, and what it is."""
    for action in ACTIONS:
        for index, route in enumerate(getattr(server, action)):
            yield action, index, route
