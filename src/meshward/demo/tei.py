"""What text-embeddings-inference 1.9.3 (TEI) reads and writes: bodies, errors, headers, counters.

Two kinds of refusal look different there, and so they do here. What the web framework refuses before TEI
looks (no JSON, a wrong type, too large) is a line of text; what TEI refuses is `{"error", "error_type"}`, on
the OpenAI routes `{"message", "code", "type"}`. Unknown keys are ignored, as there.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

VERSION = "1.9.3"
MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
MAX_BATCH = 32
PAYLOAD_LIMIT = 2_000_000

Body = TypeVar("Body", bound=BaseModel)
Item = TypeVar("Item")

List = Annotated[list[Item], Field(fail_fast=True)]  # a body may hold a million wrong items
TokenId = Annotated[int, Field(ge=0, lt=2**32)]
Input = str | List[TokenId]


class _TeiBody(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class _Truncating(_TeiBody):
    truncate: bool | None = None
    truncation_direction: Literal["Left", "left", "Right", "right"] = "Right"

    @property
    def left(self) -> bool:
        return self.truncation_direction.lower() == "left"


class EmbedRequest(_Truncating):
    inputs: Input | List[Input]
    prompt_name: str | None = None
    normalize: bool = True
    dimensions: Annotated[int, Field(ge=0)] | None = None


class OpenAIRequest(_TeiBody):
    input: Input | List[Input]
    model: str | None = None
    user: str | None = None
    dimensions: Annotated[int, Field(ge=0)] | None = None
    encoding_format: Literal["float", "base64"] = "float"


class SimilarityInput(_TeiBody):
    source_sentence: str
    sentences: List[str]


class SimilarityParameters(_Truncating):
    prompt_name: str | None = None


class SimilarityRequest(_TeiBody):
    inputs: SimilarityInput
    parameters: SimilarityParameters | None = None


class TokenizeRequest(_TeiBody):
    inputs: str | List[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class DecodeRequest(_TeiBody):
    ids: List[TokenId] | List[List[TokenId]]
    skip_special_tokens: bool = True

    @property
    def batch(self) -> list[list[int]]:
        """What to decode, as a list of lists of ids; one list of ids is a batch of one."""
        ids = [item for item in self.ids if isinstance(item, int)]
        return [ids] if ids else [item for item in self.ids if not isinstance(item, int)]


ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]
STATUS: dict[ErrorType, int] = {
    "Unhealthy": 503,
    "Backend": 424,
    "Overloaded": 429,
    "Validation": 422,
    "Tokenizer": 422,
    "Empty": 400,
}


class TeiError(Exception):
    """A refusal by TEI itself. `counted` is the label under which te_request_failure counts it."""

    def __init__(self, error_type: ErrorType, message: str, counted: str = "validation") -> None:
        super().__init__(message)
        self.error_type: ErrorType = error_type
        self.status = STATUS[error_type]
        self.message = message
        self.counted = counted

    def body(self, openai: bool) -> dict[str, Any]:
        if openai:
            return {"message": self.message, "code": self.status, "type": self.error_type}
        return {"error": self.message, "error_type": self.error_type}


class Rejection(Exception):
    """A refusal by the web framework (axum): a status and a line of text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def parse(model: type[Body], raw: bytes) -> Body:
    """`raw` as a `model`. Raises Rejection as axum's Json does; what the client sent is not repeated."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        raise Rejection(400, "Failed to parse the request body as JSON")
    place = ".".join(str(part) for part in first["loc"][:1]) or "body"
    raise Rejection(422, f"Failed to deserialize the JSON body into the target type: {place}: {first['msg']}")


def info(served_model_name: str, version_label: str, max_concurrent: int, max_input: int) -> dict[str, Any]:
    """What GET /info answers. `docker_label` tells a demo's versions apart."""
    return {
        "model_id": MODEL_ID,
        "model_sha": None,
        "model_dtype": "float32",
        "served_model_name": served_model_name,
        "model_type": {"embedding": {"pooling": "mean"}},
        "max_concurrent_requests": max_concurrent,
        "max_input_length": max_input,
        "max_batch_tokens": 16384,
        "max_batch_requests": None,
        "max_client_batch_size": MAX_BATCH,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": VERSION,
        "sha": None,
        "docker_label": f"meshward-demo-{version_label}",
    }


class Metrics:
    """The counters of GET /metrics that tell how often the model was used, and how often in vain."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Raise the counter `name` with these labels, whose values are ours: nothing to escape."""
        self._values[name, ",".join(f'{label}="{value}"' for label, value in labels.items())] += by

    def render(self, **gauges: int) -> str:
        """Prometheus text format."""
        lines = []
        for name in sorted({name for name, _ in self._values}):
            lines.append(f"# TYPE {name} counter")
            for (other, labels), value in sorted(self._values.items()):
                if other == name:
                    lines.append(f"{name}{{{labels}}} {value}" if labels else f"{name} {value}")
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value}"]
        return "\n".join([*lines, ""])
