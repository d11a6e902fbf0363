"""What is sent and answered: a prompt and an answer of 1 KB each, with a token of about 800 bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshward.testing.issuer import Issuer

SIZE = 1024  # bytes of a prompt, and of an answer
TOKEN_SIZE = 800
HOSTNAME = "models.test"
ANY_TOKEN = "@TOKEN@"  # where each of many callers puts their own


def token(issuer: Issuer, subject: str = "alice", groups: Sequence[str] = ("scientists",)) -> str:
    """A person's access token as an identity provider fills it: about TOKEN_SIZE characters, good for an hour."""
    claims: dict[str, Any] = {
        "exp": int(time.time()) + 3600,
        "scope": "openid profile email",
        "azp": "bench",
        "sid": "0" * 32,
    }
    bare = issuer.token(subject, groups, **claims)
    padding = max(0, (TOKEN_SIZE - len(bare)) * 3 // 4 - 20)
    return issuer.token(subject, groups, **claims, profile="p" * padding)


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole HTTP/1.1 request."""
    return _head(path, {**headers, "Content-Length": str(len(body))}) + body


def chunked(path: str, body: bytes, headers: Mapping[str, str], size: int) -> bytes:
    """The same whose length nobody says: in chunks of `size` bytes."""
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return _head(path, {**headers, "Transfer-Encoding": "chunked"}) + chunks + b"0\r\n\r\n"


def _head(path: str, headers: Mapping[str, str]) -> bytes:
    named = {
        "Host": HOSTNAME,
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "bench",
        **headers,
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def prompt() -> bytes:
    """A body for TEI's /embed."""
    return _padded({"inputs": ""}, lambda value, text: value | {"inputs": text})


def chat(model: str) -> bytes:
    """A body for OpenAI's /v1/chat/completions."""
    value = {"model": model, "messages": []}
    return _padded(value, lambda value, text: value | {"messages": [{"role": "user", "content": text}]})


def upload(size: int) -> bytes:
    """A body of `size` bytes for /v1/embeddings, that names its model last, as SDKs do."""
    empty = json.dumps({"input": "", "model": "mock"}).encode()
    return json.dumps({"input": "word " * ((size - len(empty)) // 5), "model": "mock"}).encode()


def event(number: int) -> bytes:
    """One of a stream's server-sent events."""
    choice = {"index": 0, "delta": {"content": f"word {number:04d} "}, "finish_reason": None}
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "mock"}
    return b"data: %b\n\n" % json.dumps(value | {"choices": [choice]}).encode()


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
