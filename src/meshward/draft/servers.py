"""Which kind of model server answers at a URL, and for which model: by what only that kind says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from meshward.kit import codes
from meshward.kit.bounded import PLAIN, TooLongError, read_bounded
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.strict import json_object
from meshward.login.wire import printable
from meshward.policy.grammar import Unreadable, parse_server_url
from meshward.policy.servers import BUILT_IN
from meshward.policy.urls import UnixSocket

_PROBES = ("/info", "/v1/models", "/version", "/health")
_TASKS = {"embedding": "feature-extraction", "classifier": "text-classification", "reranker": "text-ranking"}
_PATIENCE = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class FoundServer:
    """What is served: the kind, and the model's own name and task where the server tells."""

    kind: str
    model: str | None
    task: str | None


Answers = Mapping[str, tuple[int, Any]]
"""By path: the status, and the JSON value or None."""


def probe(url: str) -> FoundServer:
    """Ask the server at `url` what it is. Raises MeshwardError (MW2121) if nobody answers, or none we know."""
    answers = _ask(url)
    found = kind_of(answers)
    if found is None:
        seen = ", ".join(f"{path} {status}" for path, (status, _) in answers.items())
        raise MeshwardError(
            codes.SERVER_NOT_KNOWN,
            f"what answers at `{printable(url)}` is no kind of server that is known ({seen})",
            f"Say which with --server: {', '.join(BUILT_IN)}.",
        )
    return found


def kind_of(answers: Answers) -> FoundServer | None:
    """Pure: the kind that answers so."""
    info, models = _object_at(answers, "/info"), _models(answers)
    listed = next((name for name, _ in models), None) if len(models) == 1 else None
    if isinstance(info.get("model_type"), dict):
        task = next((_TASKS[name] for name in info["model_type"] if name in _TASKS), None)
        return FoundServer("tei", _text(info.get("served_model_name")) or _text(info.get("model_id")), task)
    if "model_id" in info and ("max_total_tokens" in info or "router" in info):
        return FoundServer(
            "tgi", _text(info["model_id"]), _text(info.get("model_pipeline_tag")) or "text-generation"
        )
    if any(owner == "vllm" for _, owner in models) or "version" in _object_at(answers, "/version"):
        return FoundServer("vllm", listed, "text-generation")
    if models and answers["/health"][0] == 200:
        return FoundServer("transformers", listed, "text-generation")
    return None


def _ask(url: str) -> dict[str, tuple[int, Any]]:
    try:
        place = parse_server_url(url)
    except Unreadable as error:
        raise MeshwardError(
            codes.SERVER_NOT_KNOWN, error.cause, f"{error.remedy}.", exit_code=Exit.USAGE
        ) from None
    base = "http://model" if isinstance(place, UnixSocket) else url.rstrip("/")
    transport = httpx2.HTTPTransport(uds=place.path) if isinstance(place, UnixSocket) else None
    try:
        with httpx2.Client(transport=transport, trust_env=False, timeout=_PATIENCE) as http:
            return {path: _get(http, base + path) for path in _PROBES}
    except (httpx2.HTTPError, OSError) as error:
        raise MeshwardError(
            codes.SERVER_NOT_KNOWN,
            f"nobody answers at `{printable(url)}` ({type(error).__name__})",
        ) from None


def _get(http: httpx2.Client, url: str) -> tuple[int, Any]:
    with http.stream("GET", url, headers=PLAIN) as response:
        try:
            body = read_bounded(response.iter_raw())
            return response.status_code, json_object(body) if response.status_code == 200 else None
        except (TooLongError, ValueError):
            return response.status_code, None


def _object_at(answers: Answers, path: str) -> dict[str, Any]:
    value = answers[path][1]
    return value if isinstance(value, dict) else {}


def _models(answers: Answers) -> list[tuple[str, Any]]:
    """(id, owner) of /v1/models."""
    data = _object_at(answers, "/v1/models").get("data")
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    return [(entry["id"], entry.get("owned_by")) for entry in entries if isinstance(entry.get("id"), str)]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
