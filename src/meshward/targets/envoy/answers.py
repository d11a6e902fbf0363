"""What a guard says: refusals in the shapes that clients print, and one JSON line for each request."""

from __future__ import annotations

from dataclasses import dataclass

from meshward.kit.reasons import Reason
from meshward.targets.envoy.projection import GuardView
from meshward.targets.envoy.wire import (
    LAYER_HEADER,
    PEER_STATE,
    REASON_HEADER,
    WHO_STATE,
    Json,
    typed_extension,
)


@dataclass(frozen=True, slots=True)
class _LocalReply:
    """`status` and above, up to the next; `message` is one line of plain ASCII without `%`."""

    status: int
    reason: Reason
    message: str
    exactly: bool = True
    answer_with: int | None = None
    retry_after: int | None = None
    flag: str | None = None  # Envoy's own word for it, where a status says too little


_REFUSALS = (
    _LocalReply(
        401, Reason.GUARD_NO_TOKEN, "The guard got no valid Transaction Token: only the edge can bring one."
    ),
    _LocalReply(
        403, Reason.GUARD_FORBIDDEN, "The guard refused: this token does not permit this route of this model."
    ),
    _LocalReply(413, Reason.BODY_TOO_LARGE, "The request body is larger than this model accepts: send less."),
    _LocalReply(
        429,
        Reason.GUARD_RATE_LIMITED,
        "More than twice the request limit reached the guard: slow down.",
        retry_after=1,
    ),
    # A filter whose configuration has not arrived answers 500: nothing that a client did.
    _LocalReply(500, Reason.GUARD_UNAVAILABLE, "The guard is not ready: try again shortly.", answer_with=503),
    _LocalReply(
        502, Reason.MODEL_ANSWER_INVALID, "The model server's answer is no valid HTTP and was not passed on."
    ),
    _LocalReply(503, Reason.GUARD_UNAVAILABLE, "The model server does not answer: try again shortly."),
    _LocalReply(
        504,
        Reason.TIME_OVER,
        "The request lasted longer than this model's max_duration.",
        flag="UT",
    ),
    _LocalReply(
        504, Reason.GUARD_TIMEOUT, "The model server was silent for longer than this model's timeout."
    ),
    _LocalReply(
        400, Reason.GUARD_REFUSED, "The guard refused a request that it cannot accept.", exactly=False
    ),
)


def local_replies() -> Json:
    """Envoy's own answers, by path family: OpenAI's error object below /v1/, a string elsewhere."""
    mappers = [_mapper(refusal, openai) for refusal in _REFUSALS for openai in (True, False)]
    return {"mappers": mappers, "body_format": _body(_REFUSALS[-1], openai=False)}


def _mapper(refusal: _LocalReply, openai: bool) -> Json:
    comparison = {
        "op": "EQ" if refusal.exactly else "GE",
        "value": {"default_value": refusal.status, "runtime_key": "meshward.unset"},
    }
    status: Json = {"status_code_filter": {"comparison": comparison}}
    family: Json = {"header_filter": {"header": {"name": ":path", "string_match": {"prefix": "/v1/"}}}}
    flagged: list[Json] = [{"response_flag_filter": {"flags": [refusal.flag]}}] if refusal.flag else []
    filters = [status, *flagged, *([family] if openai else [])]
    mapper: Json = {
        "filter": {"and_filter": {"filters": filters}} if len(filters) > 1 else status,
        "headers_to_add": _headers(refusal),
        "body_format_override": _body(refusal, openai),
    }
    if refusal.answer_with is not None:
        mapper["status_code"] = refusal.answer_with
    return mapper


def _headers(refusal: _LocalReply) -> list[Json]:
    values = {
        LAYER_HEADER: "guard",
        REASON_HEADER: refusal.reason,
        "x-error-message": refusal.message,
        "cache-control": "no-store",
    }
    if refusal.retry_after is not None:
        values["retry-after"] = str(refusal.retry_after)
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in values.items()
    ]


def _body(refusal: _LocalReply, openai: bool) -> Json:
    body: Json = {"request_id": "%REQ(X-REQUEST-ID):64%", "layer": "guard"}
    if openai:
        body["error"] = {
            "message": refusal.message,
            "type": "invalid_request_error" if refusal.status < 500 else "server_error",
            "code": refusal.reason,
            "param": None,
        }
    else:
        body |= {"error": refusal.message, "error_type": refusal.reason}
    return {"json_format": body}


def access_log(view: GuardView, path: str) -> Json:
    """One object per request, every value a string: who, by which decision, what came of it.

    `who` is there once the token was verified: revision, grant, transaction, permission and subject, in this order.
    `dur` is milliseconds. What is absent is empty or not there. No token, no query string, no body; what a
    caller wrote is cut to a bounded length.
    """
    fields = {
        "v": "1",
        "hop": "guard",
        "rid": "%REQ(X-REQUEST-ID):64%",
        "t": "%START_TIME(%s.%3f)%",
        "conn": _text("%CONNECTION_ID%"),
        "uid": "%UNIQUE_ID%",  # STREAM_ID would be the caller's X-Request-Id
        "method": "%REQ(:METHOD):16%",
        "path": "%PATH(NQ:PATH):1024%",
        "status": _text("%RESPONSE_CODE%"),
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "bytes": _text("%BYTES_SENT%"),
        "bytes_in": _text("%BYTES_RECEIVED%"),
        "dur": _text("%DURATION%"),
        "peer": f"%FILTER_STATE({PEER_STATE}:PLAIN)%",
        "serial": "%DOWNSTREAM_PEER_SERIAL%",
        "who": f"%FILTER_STATE({WHO_STATE}:PLAIN)%",
        "told_reqd": "%REQ(CONTENT-DIGEST):128%",
        "guard": view.dns_name,
        "upstream": "%UPSTREAM_HOST%",
    }
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": typed_extension(
            "extensions.access_loggers.file.v3.FileAccessLog",
            path=path,
            log_format={"json_format": fields, "omit_empty_values": True},
        ),
    }


def _text(operator: str) -> str:
    """Whatever it is, as a string: an operator alone keeps its JSON type, two beside each other are text.

    The second one is never there. What the first one lacks is an empty string.
    """
    return f"{operator}%DYNAMIC_METADATA(none)%"
