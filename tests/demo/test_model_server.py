"""The model server speaks as text-embeddings-inference 1.9.3 does, and to unmodified clients."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from huggingface_hub import InferenceClient

from meshward.demo.embedder import Embedder
from meshward.demo.model_server import ModelServer

from .conftest import listening

JSON = {"content-type": "application/json"}


def post(url: str, path: str, body: Any, headers: dict[str, str] = JSON) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx2.post(url + path, content=content, headers=headers, timeout=60)


def metrics(url: str) -> dict[str, int]:
    lines = [
        line
        for line in httpx2.get(f"{url}/metrics", timeout=60).text.splitlines()
        if not line.startswith("#")
    ]
    return {name: int(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_embed_gives_unit_vectors_and_timings(model_url: str):
    answer = post(model_url, "/embed", {"inputs": ["hello", "the world"], "unknown": 1})
    vectors = np.array(answer.json())
    assert answer.status_code == 200 and vectors.shape == (2, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert answer.headers["x-compute-characters"] == "14" and answer.headers["x-compute-tokens"] == "7"
    times = ("compute", "total", "tokenization", "queue", "inference")
    assert all(answer.headers[f"x-{name}-time"].isdigit() for name in times)
    assert "x-compute-type" in answer.headers


def test_numbers_are_written_as_float32(model_url: str):
    body = post(model_url, "/embed", {"inputs": "hello"}).text
    assert len(body) < 384 * 14, "a float32 needs 9 digits"
    values = json.loads(body)[0]
    assert [float(str(np.float32(value))) for value in values] == values


@pytest.mark.parametrize("path", ["/", "/invocations", "/embed"])
def test_embedding_routes_agree(model_url: str, path: str):
    assert (
        post(model_url, path, {"inputs": "hello"}).json()
        == post(model_url, "/embed", {"inputs": "hello"}).json()
    )


def test_normalize_and_dimensions(model_url: str):
    raw = np.array(post(model_url, "/embed", {"inputs": "hello", "normalize": False}).json()[0])
    short = np.array(post(model_url, "/embed", {"inputs": "hello", "dimensions": 8}).json()[0])
    assert not np.isclose(np.linalg.norm(raw), 1, atol=0.01)
    assert np.allclose(short, raw[:8] / np.linalg.norm(raw[:8]), atol=1e-5)


def test_token_ids_are_the_text_they_stand_for(model_url: str):
    ids = [token["id"] for token in post(model_url, "/tokenize", {"inputs": "hello world"}).json()[0]]
    by_ids = np.array(post(model_url, "/embed", {"inputs": ids}).json()[0])
    by_text = np.array(post(model_url, "/embed", {"inputs": "hello world"}).json()[0])
    assert np.allclose(by_ids, by_text, atol=1e-6)


def test_similarity(model_url: str):
    inputs = {"source_sentence": "a cat", "sentences": ["a cat", "a kitten", "tax law"]}
    same, near, far = post(model_url, "/similarity", {"inputs": inputs, "parameters": {}}).json()
    assert abs(same - 1) < 1e-5 and near > far + 0.2


def test_tokenize_and_decode(model_url: str):
    tokens = post(model_url, "/tokenize", {"inputs": "héllo"}).json()
    assert tokens == [
        [
            {"id": 101, "text": "[CLS]", "special": True, "start": None, "stop": None},
            {"id": 7592, "text": "héllo", "special": False, "start": 0, "stop": 5},
            {"id": 102, "text": "[SEP]", "special": True, "start": None, "stop": None},
        ]
    ]
    assert [
        len(row)
        for row in post(model_url, "/tokenize", {"inputs": ["a", "b c"], "add_special_tokens": False}).json()
    ] == [1, 2]
    assert post(model_url, "/decode", {"ids": [101, 7592, 102]}).json() == ["hello"]
    assert post(model_url, "/decode", {"ids": [[7592], [2088, 4294967295]]}).json() == ["hello", "world"]
    assert post(model_url, "/decode", {"ids": [101], "skip_special_tokens": False}).json() == ["[CLS]"]


@pytest.mark.parametrize(
    ("path", "body", "status", "error_type"),
    [
        ("/embed", {"inputs": ""}, 400, "Empty"),
        ("/embed", {"inputs": []}, 400, "Empty"),
        ("/embed", {"inputs": ["a", ""]}, 400, "Empty"),
        ("/embed", {"inputs": ["a"] * 33}, 422, "Validation"),
        ("/embed", {"inputs": "word " * 300, "truncate": False}, 422, "Validation"),
        ("/embed", {"inputs": "a", "dimensions": 385}, 422, "Validation"),
        ("/embed", {"inputs": "a", "dimensions": 0}, 422, "Validation"),
        ("/embed", {"inputs": "a", "prompt_name": "query"}, 422, "Validation"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "Empty"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"] * 33}}, 422, "Validation"),
        ("/tokenize", {"inputs": ["a"] * 33}, 422, "Validation"),
        ("/decode", {"ids": []}, 400, "Empty"),
        ("/v1/embeddings", {"input": ""}, 400, "Empty"),
        ("/embeddings", {"input": ["a"] * 33}, 422, "Validation"),
    ],
)
def test_refusals_have_tei_s_shape(model_url: str, path: str, body: Any, status: int, error_type: str):
    answer = post(model_url, path, body)
    assert answer.status_code == status
    if path.endswith("embeddings"):
        assert answer.json() == {"message": answer.json()["message"], "code": status, "type": error_type}
    else:
        assert answer.json() == {"error": answer.json()["error"], "error_type": error_type}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"inputs": "a"', JSON, 400),
        (b"", JSON, 400),
        (b'{"inputs": NaN}', JSON, 422),
        (b'{"inputs": "sentinel", "normalize": "sentinel"}', JSON, 422),
        (b'{"inputs": 3}', JSON, 422),
        (b'{"inputs": [[[1]]]}', JSON, 422),
        (b'{"inputs": [-1]}', JSON, 422),
        (b"[]", JSON, 422),
        (b"[" * 100_000, JSON, 400),
        (b'{"inputs": [' + b"null," * 300_000 + b"null]}", JSON, 422),
        (b'{"inputs": "a"}', {"content-type": "text/plain"}, 415),
        (b'{"inputs": "' + b"a" * 2_000_000 + b'"}', JSON, 413),
    ],
)
def test_what_the_framework_refuses_is_a_line_of_text(
    model_url: str, body: bytes, headers: dict[str, str], status: int
):
    answer = post(model_url, "/embed", body, headers)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain") and len(answer.text) < 200
    assert "sentinel" not in answer.text, "what was sent came back"


def test_a_body_of_the_limit_s_size_is_read(model_url: str):
    body = b'{"inputs": "a"' + b" " * 1_999_985 + b"}"
    assert len(body) == 2_000_000
    assert post(model_url, "/embed", body).status_code == 200


def test_unknown_paths_and_methods_have_no_body(model_url: str):
    missing, wrong = httpx2.get(f"{model_url}/nope", timeout=60), httpx2.get(f"{model_url}/embed", timeout=60)
    assert (missing.status_code, missing.content) == (404, b"")
    assert (wrong.status_code, wrong.content, wrong.headers["allow"]) == (405, b"", "POST")
    assert httpx2.post(f"{model_url}/embed/", timeout=60).status_code == 404, "no redirect to the route"


def test_health_and_info(model_url: str):
    for path in ("/", "/health", "/ping"):
        answer = httpx2.get(model_url + path, timeout=60)
        assert (answer.status_code, answer.content) == (200, b"")
    info = httpx2.get(f"{model_url}/info", timeout=60).json()
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert (info["version"], info["docker_label"]) == ("1.9.3", "meshward-demo-v1")
    assert (info["max_input_length"], info["max_client_batch_size"]) == (256, 32)


def test_metrics_count_what_was_asked(embedder: Embedder):
    with listening(lambda _host, _port: ModelServer(embedder, "minilm", "v1").app()) as url:
        post(url, "/embed", {"inputs": "a"})
        post(url, "/v1/embeddings", {"input": ["a", "b"]})
        post(url, "/embed", {"inputs": ""})
        post(url, "/embed", {"inputs": ["a"] * 33})
        httpx2.get(f"{url}/info", timeout=60)
        assert metrics(url) == {
            'te_request_count{method="single"}': 2,
            'te_request_count{method="batch"}': 2,
            'te_request_success{method="single"}': 1,
            'te_request_success{method="batch"}': 1,
            'te_request_failure{err="validation"}': 1,
            'te_request_failure{err="batch_size"}': 1,
            "te_embed_count": 3,
            "te_queue_size": 0,
        }


class Blocked(Embedder):
    """An embedder that waits for its test."""

    def __init__(self, real: Embedder) -> None:
        self.__dict__.update(real.__dict__)
        self.entered, self.released = threading.Event(), threading.Event()

    def embed(self, *args: Any, **kwargs: Any) -> Any:
        self.entered.set()
        assert self.released.wait(60)
        return super().embed(*args, **kwargs)


def test_too_many_at_once_are_overload(embedder: Embedder):
    blocked = Blocked(embedder)
    answers: list[int] = []
    with listening(lambda _host, _port: ModelServer(blocked, "minilm", "v1", max_concurrent=1).app()) as url:
        first = threading.Thread(
            target=lambda: answers.append(post(url, "/embed", {"inputs": "a"}).status_code)
        )
        first.start()
        assert blocked.entered.wait(60)
        refused = post(url, "/embed", {"inputs": "b"})
        assert httpx2.get(f"{url}/health", timeout=60).status_code == 200, "health does not queue"
        blocked.released.set()
        first.join(60)
        assert post(url, "/embed", {"inputs": "b"}).status_code == 200, "the place is free again"
    assert answers == [200]
    assert refused.status_code == 429
    assert refused.json() == {"error": "Model is overloaded", "error_type": "Overloaded"}


class Broken(Blocked):
    def embed(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret prompt")


def test_a_fault_is_the_backend_s_and_keeps_the_prompt(embedder: Embedder, caplog: pytest.LogCaptureFixture):
    with listening(lambda _host, _port: ModelServer(Broken(embedder), "minilm", "v1").app()) as url:
        answer = post(url, "/embed", {"inputs": "a"})
    assert (answer.status_code, answer.json()) == (
        424,
        {"error": "inference failed", "error_type": "Backend"},
    )
    assert "RuntimeError" in caplog.text and "secret prompt" not in caplog.text


def test_huggingface_client(model_url: str):
    client = InferenceClient(model=model_url, token="anything")
    vectors = client.feature_extraction("hello", normalize=True, truncate=True, truncation_direction="right")
    assert vectors.shape == (1, 384)
    scores = client.sentence_similarity("a cat", other_sentences=["a kitten", "tax law"])
    assert scores[0] > scores[1]
    assert InferenceClient(model=f"{model_url}/similarity", token="x").sentence_similarity(
        "a", other_sentences=["a"]
    )


def test_openai_client(model_url: str):
    client = openai.OpenAI(base_url=f"{model_url}/v1", api_key="anything", max_retries=0)
    by_default = client.embeddings.create(model="whatever", input=["hello", "world"])
    as_floats = client.embeddings.create(model="whatever", input=["hello", "world"], encoding_format="float")
    assert (
        by_default.model == "minilm" and by_default.usage.prompt_tokens == by_default.usage.total_tokens == 6
    )
    assert [item.index for item in by_default.data] == [0, 1]
    for one, other in zip(by_default.data, as_floats.data, strict=True):
        assert np.allclose(one.embedding, other.embedding, atol=1e-7)
    with pytest.raises(openai.BadRequestError, match="cannot be empty"):
        client.embeddings.create(model="whatever", input="")
