"""What is sent and answered: a prompt and an answer of 1 KB each, with a token of about 800 bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from meshward.testing.issuer import Issuer

SIZE = 1024  # bytes of a prompt, and of an answer
TOKEN_SIZE = 800
HOSTNAME = "models.test"


def token(issuer: Issuer) -> str:
    """A person's access token as an identity provider fills it: about TOKEN_SIZE characters, good for an hour."""
    claims: dict[str, Any] = {
        "exp": int(time.time()) + 3600,
        "scope": "openid profile email",
        "azp": "bench",
        "sid": "0" * 32,
    }
    bare = issuer.token("alice", ["scientists"], **claims)
    padding = max(0, (TOKEN_SIZE - len(bare)) * 3 // 4 - 20)
    return issuer.token("alice", ["scientists"], **claims, profile="p" * padding)


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole HTTP/1.1 request."""
    named = {
        "Host": HOSTNAME,
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "bench",
        **headers,
    }
    lines = [
        f"POST {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in named.items()),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def prompt() -> bytes:
    """A body for TEI's /embed."""
    return _padded({"inputs": ""}, lambda value, text: value | {"inputs": text})


def chat(model: str) -> bytes:
    """A body for OpenAI's /v1/chat/completions."""
    value = {"model": model, "messages": []}
    return _padded(value, lambda value, text: value | {"messages": [{"role": "user", "content": text}]})


def embedding() -> bytes:
    """An answer of TEI's /embed."""
    return _padded([], lambda _, text: [[0.125] * (len(text) // 7)])


def completion() -> bytes:
    """An answer of OpenAI's /v1/chat/completions."""
    usage = {"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300}
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "mock",
        "usage": usage,
    }

    def filled(value: Any, text: str) -> Any:
        message = {"role": "assistant", "content": text}
        return value | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    return _padded(value, filled)


def _padded(value: Any, fill: Callable[[Any, str], Any]) -> bytes:
    room = SIZE - len(json.dumps(fill(value, "")).encode())
    return json.dumps(fill(value, "word " * (room // 5))).encode()
