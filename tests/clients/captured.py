"""What clients write that are not installed beside these tests, key by key in their own order.

OPENAI_*: openai 1.109.1 and 2.54.0, which write the same bytes, against a server that kept them (2026-11).
ANTHROPIC_*: anthropic 2.14.0, the same way: `messages.create(stream=True)` and `messages.stream`.
CLAUDE_CODE: as captured from version 2.1.69 and published (JSON.stringify: no spaces, characters as they are).
CODEX: the struct `ResponsesApiRequest` of openai/codex, codex-rs/codex-api/src/common.rs, in serde's order.
VERCEL: `getArgs` and `doStream` of vercel/ai, packages/openai-compatible.

`@text` stands where a conversation's text is, a JSON string; `@name` for the model's name; `@schema` for a tool's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

SCHEMA = {
    "type": "object",
    "properties": {"model": {"type": "string", "enum": ["T", "S"]}, "options": {"model": "other"}},
    "required": ["model"],
}
"""Of a tool that orders cars: its parameter is a `model` too."""

_CHAT_TOOL = '{"type":"function","function":{"name":"order","description":"Orders.","parameters":@schema}}'
_FLAT_TOOL = '{"type":"function","name":"order","description":"Orders.","strict":false,"parameters":@schema}'
_CLAUDE_TOOL = '{"name":"order","description":"Orders.","input_schema":@schema}'
_TURN = '[{"role":"user","content":@text}]'

BODIES: Mapping[str, tuple[str, str]] = {
    "OPENAI_CHAT": (
        "/v1/chat/completions",
        f'{{"messages":{_TURN},"model":@name,"max_tokens":10,"stream":true,"temperature":0.5,'
        f'"tool_choice":"auto","tools":[{_CHAT_TOOL}]}}',
    ),
    "OPENAI_EMBEDDINGS": ("/v1/embeddings", '{"input":[@text],"model":@name,"encoding_format":"base64"}'),
    "OPENAI_RESPONSES": (
        "/v1/responses",
        f'{{"input":@text,"instructions":"be","model":@name,"stream":true,"tools":[{_FLAT_TOOL}]}}',
    ),
    "ANTHROPIC_CREATE": (
        "/v1/messages",
        f'{{"max_tokens":10,"messages":{_TURN},"model":@name,"stream":true,"system":"s","tools":[{_CLAUDE_TOOL}]}}',
    ),
    "ANTHROPIC_STREAM": (
        "/v1/messages",
        f'{{"max_tokens":10,"messages":{_TURN},"model":@name,"tools":[{_CLAUDE_TOOL}],"stream":true}}',
    ),
    "CLAUDE_CODE": (
        "/v1/messages?beta=true",
        f'{{"model":@name,"messages":{_TURN},"system":[{{"type":"text","text":@text}}],"tools":[{_CLAUDE_TOOL}],'
        '"metadata":{"user_id":"user_x_account_y_session_z"},"max_tokens":32000,"thinking":{"type":"adaptive"},'
        '"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},'
        '"output_config":{"effort":"medium"},"stream":true}',
    ),
    "CODEX": (
        "/v1/responses",
        '{"model":@name,"instructions":"be","input":[{"type":"message","role":"user","content":'
        f'[{{"type":"input_text","text":@text}}]}}],"tools":[{_FLAT_TOOL}],"tool_choice":"auto",'
        '"parallel_tool_calls":true,"reasoning":null,"store":false,"stream":true,"include":[],"prompt_cache_key":"k"}',
    ),
    "VERCEL": (
        "/v1/chat/completions",
        f'{{"model":@name,"max_tokens":10,"temperature":0,"messages":{_TURN},"tools":[{_CHAT_TOOL}],'
        '"tool_choice":"auto","stream":true,"stream_options":{"include_usage":true}}',
    ),
}
"""The path, and the body."""


def written(body: str, name: str, text: str) -> bytes:
    """The bytes that the client sends."""
    filled = body.replace("@schema", json.dumps(SCHEMA, separators=(",", ":")))
    filled = filled.replace("@name", json.dumps(name))
    return filled.replace("@text", json.dumps(text, ensure_ascii=False)).encode()
