"""Model servers that answer from a script, in the shapes that their clients read."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Collection
from typing import Any

from meshward.testing.recorder import Received, json_answer, openai_event

SAID = "hello yourself"
_TEXT = {"type": "output_text", "text": SAID, "annotations": []}
_MESSAGE = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [_TEXT]}
_RESPONSE = {"id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "m",
             "output": [_MESSAGE], "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}  # fmt: skip
_ANSWERS: dict[str, Any] = {
    "/v1/chat/completions": {
        "id": "c", "object": "chat.completion", "created": 1, "model": "assistant",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    },
    "/v1/embeddings": {
        "object": "list", "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    },
    "/v1/responses": _RESPONSE,
    "/v1/audio/transcriptions": {"text": SAID},
}  # fmt: skip
_FIELD = re.compile(rb'name="model"\r\n\r\n(.*?)\r\n--')


def answer(request: Received, connection: socket.socket) -> None:
    """As TEI and vLLM would."""
    if request.target == "/v1/chat/completions" and _json(request).get("stream"):
        _send_events(connection, [openai_event(0), b"data: [DONE]\n\n"])
    else:
        json_answer(_ANSWERS.get(request.target, [[0.1, 0.2, 0.3]]))(request, connection)


def named(request: Received) -> str | None:
    """The model that a server finds in a request: its JSON's, or its form's."""
    if "multipart" in "".join(request.header("content-type")):
        found = _FIELD.search(request.body)
        return found and found[1].decode()
    name: str | None = _json(request).get("model")
    return name


class Knowing:
    """A vLLM started with these names: it answers as one of them, and 404 for any other, as vLLM does."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def __call__(self, request: Received, connection: socket.socket) -> None:
        name = named(request)
        if request.method == "GET" or name in self.names:
            answer(request, connection)
            return
        error = {"message": f"The model `{name}` does not exist.", "type": "NotFoundError", "code": 404}
        json_answer({"error": error}, status=404)(request, connection)


def _json(request: Received) -> dict[str, Any]:
    found = json.loads(request.body or b"{}")
    return found if isinstance(found, dict) else {}


def _send_events(connection: socket.socket, events: list[bytes]) -> None:
    body = b"".join(events)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
