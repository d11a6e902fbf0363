"""The numpy model against vectors that sentence-transformers made once, and its parts against exact ones."""

from __future__ import annotations

import json
import math
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from meshward.demo import embedder as module
from meshward.demo.embedder import MAX_TOKENS, Embedder, gelu, map_weights, model_directory
from meshward.kit.errors import MeshwardError

REFERENCE = json.loads((Path(__file__).parent / "reference_embeddings.json").read_text())["texts"]
VECTORS = np.array([text["embedding"] for text in REFERENCE])


@pytest.mark.parametrize("index", range(len(REFERENCE)), ids=[text["name"] for text in REFERENCE])
def test_an_embedding_is_the_reference_one(embedder: Embedder, index: int):
    vector = embedder.embed([embedder.token_ids(REFERENCE[index]["text"])])[0]
    assert float(vector @ VECTORS[index]) >= 0.9999
    assert np.abs(vector - VECTORS[index]).max() < 1e-5


def test_a_batch_is_its_texts_one_by_one(embedder: Embedder):
    vectors = embedder.embed([embedder.token_ids(text["text"]) for text in REFERENCE])
    assert np.abs(vectors - VECTORS).max() < 1e-5


def test_the_reference_would_notice_another_model(embedder: Embedder):
    swapped = embedder.embed([embedder.token_ids(text["text"]) for text in REFERENCE[1:]])
    assert max(float(vector @ other) for vector, other in zip(swapped, VECTORS, strict=False)) < 0.99


def test_long_texts_lose_their_end_or_their_start(embedder: Embedder):
    text = " ".join(str(number) for number in range(400))
    whole = embedder.token_ids(text, limit=None)
    right, left = embedder.token_ids(text), embedder.token_ids(text, left=True)
    assert len(whole) > MAX_TOKENS == len(right) == len(left)
    assert right == [*whole[: MAX_TOKENS - 1], whole[-1]]
    assert left == [whole[0], *whole[-MAX_TOKENS + 1 :]]


def test_gelu_is_the_exact_one():
    values = np.linspace(-9, 9, 4001, dtype=np.float32)
    exact = [0.5 * float(v) * (1 + math.erf(float(v) / math.sqrt(2))) for v in values]
    assert np.abs(gelu(values.copy()) - exact).max() < 1e-6


def test_weights_are_mapped_read_only():
    weights = map_weights(model_directory() / "model.safetensors")
    assert weights["embeddings.word_embeddings.weight"].shape == (30522, 384)
    assert not any(tensor.flags.owndata or tensor.flags.writeable for tensor in weights.values())


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "DISTRIBUTION", "no-such-weights")
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.distribution("no-such-weights")
    with pytest.raises(MeshwardError, match="no-such-weights") as caught:
        model_directory()
    assert caught.value.code.number == "MW3401" and "make setup" in caught.value.remedy
