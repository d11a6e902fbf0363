"""What one request wants from the demo's model, what TEI would refuse of it, and the answer in numbers."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from meshward.demo.embedder import DIMENSIONS, MAX_TOKENS, Embedder, Floats, unit
from meshward.demo.tei import MAX_BATCH, Input, TeiError


@dataclass(frozen=True, slots=True)
class Work:
    """Texts (or token ids) to embed, and how. `method` is how TEI counts them."""

    inputs: Sequence[Input]
    method: Literal["single", "batch"]
    truncate: bool | None = None  # None: yes, TEI's --auto-truncate
    left: bool = False
    prompt_name: str | None = None
    normalize: bool = True
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it. Times are seconds."""

    vectors: Floats
    characters: int
    tokens: int
    tokenization: float
    queue: float
    inference: float

    def headers(self, asked: float) -> dict[str, str]:
        """TEI's response headers; times are whole milliseconds. `asked` is time.perf_counter at the start."""
        total = time.perf_counter() - asked
        times = {"compute": total, "total": total}
        times |= {"tokenization": self.tokenization, "queue": self.queue, "inference": self.inference}
        return {
            "x-compute-type": "cpu",
            "x-compute-characters": str(self.characters),
            "x-compute-tokens": str(self.tokens),
            **{f"x-{name}-time": str(int(seconds * 1000)) for name, seconds in times.items()},
        }


def work_of(inputs: Input | list[Input], **options: Any) -> Work:
    """A string or a list of token ids is one input; a list of those is a batch."""
    if isinstance(inputs, str):
        return Work((inputs,), "single", **options)
    ids = [item for item in inputs if isinstance(item, int)]
    if ids:
        return Work((ids,), "single", **options)
    return Work([item for item in inputs if not isinstance(item, int)], "batch", **options)


def check_batch(inputs: Sequence[object], name: str = "inputs") -> None:
    """Raises TeiError where TEI would: nothing asked, or too much at once."""
    if not inputs:
        raise TeiError("Empty", f"`{name}` cannot be empty")
    if len(inputs) > MAX_BATCH:
        message = f"batch size {len(inputs)} > maximum allowed batch size {MAX_BATCH}"
        raise TeiError("Validation", message, "batch_size")


def check_options(prompt_name: str | None, dimensions: int | None = None) -> None:
    """Raises TeiError for what this model does not have."""
    if prompt_name is not None:
        raise TeiError("Validation", "`prompt_name` is set, and this model has no prompts")
    if dimensions is not None and not 1 <= dimensions <= DIMENSIONS:
        raise TeiError("Validation", f"`dimensions` must be between 1 and {DIMENSIONS}")


def compute(embedder: Embedder, work: Work, asked: float) -> Done:
    """Tokenise and embed. Raises TeiError. `asked` is when the request was queued (time.perf_counter)."""
    begun = time.perf_counter()
    batch = [_ids(embedder, given, work) for given in work.inputs]
    tokenized = time.perf_counter()
    vectors = embedder.embed(batch, normalize=False)[:, : work.dimensions]
    vectors = unit(vectors) if work.normalize else vectors
    return Done(
        vectors,
        characters=sum(len(given) for given in work.inputs if isinstance(given, str)),
        tokens=sum(map(len, batch)),
        tokenization=tokenized - begun,
        queue=begun - asked,
        inference=time.perf_counter() - tokenized,
    )


def _ids(embedder: Embedder, given: Input, work: Work) -> list[int]:
    """The token ids that the model gets for one input."""
    limit = None if work.truncate is False else MAX_TOKENS
    if isinstance(given, str):
        ids = embedder.token_ids(given, limit, work.left) if given else []
    else:  # as TEI does: ids are the text that they stand for, special tokens included
        ids = embedder.encode(embedder.decode(given, skip_special=False), special=False).ids
        ids = (ids[-limit:] if work.left else ids[:limit]) if limit else ids
    if not ids:
        raise TeiError("Empty", "`inputs` cannot be empty")
    if len(ids) > MAX_TOKENS:
        raise TeiError("Validation", f"`inputs` must have less than {MAX_TOKENS} tokens. Given: {len(ids)}")
    return ids


def describe_tokens(embedder: Embedder, text: str, special: bool) -> list[dict[str, Any]]:
    """The tokens of `text` as POST /tokenize lists them; positions count characters."""
    encoding = embedder.encode(text, special)
    rows = zip(encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask, strict=True)
    return [
        {"id": id_, "text": token, "special": True, "start": None, "stop": None}
        if is_special
        else {"id": id_, "text": text[start:stop], "special": False, "start": start, "stop": stop}
        for id_, token, (start, stop), is_special in rows
    ]


def as_json(vectors: Floats) -> list[Any]:
    """float32 values in the fewest digits that name them; converted plainly they would be twice as long."""
    shortest: list[Any] = vectors.astype(np.str_).astype(np.float64).tolist()
    return shortest


def as_base64(vectors: Floats) -> list[str]:
    """Each row's little-endian float32 bytes, as OpenAI's clients ask for them."""
    return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
