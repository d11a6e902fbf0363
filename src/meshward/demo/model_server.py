"""The demo's model: all-MiniLM-L6-v2 behind text-embeddings-inference's routes, by Unix socket or loopback.

    python -m meshward.demo.model_server (--uds PATH | --port N) [--version-label v1]

Like TEI it knows nothing of identity: who can reach it may use it. One thread computes; what waits for it is
bounded, the rest is answered 429. It is ready when its socket accepts.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from meshward.demo import inference, tei
from meshward.demo.embedder import MAX_TOKENS, Embedder, model_directory
from meshward.demo.inference import Done, Work
from meshward.demo.serve import bind_loopback, bind_unix, serve
from meshward.demo.tei import Rejection, TeiError
from meshward.kit.errors import MeshwardError

Result = TypeVar("Result")
log = logging.getLogger("meshward.demo.model_server")


class ModelServer:
    """TEI's routes over one `Embedder`, at most `max_concurrent` requests at a time."""

    def __init__(self, embedder: Embedder, name: str, version_label: str, max_concurrent: int = 64) -> None:
        self._embedder = embedder
        self._name = name
        self._info = tei.info(name, version_label, max_concurrent, MAX_TOKENS)
        self._max_concurrent = max_concurrent
        self._running = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._metrics = tei.Metrics()

    def app(self) -> Starlette:
        answers = {"/": self.health, "/health": self.health, "/ping": self.health}
        answers |= {"/info": self.info, "/metrics": self.metrics}
        works = {"/": self.root, "/invocations": self.root, "/embed": self.embed}
        works |= {"/similarity": self.similarity, "/tokenize": self.tokenize, "/decode": self.decode}
        works |= {"/embeddings": self.openai, "/v1/embeddings": self.openai}
        routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in answers.items()]
        routes += [Route(path, endpoint, methods=["POST"]) for path, endpoint in works.items()]
        refusals = {TeiError: self.refuse, Rejection: reject, HTTPException: nothing_here}
        app = Starlette(routes=routes, exception_handlers=refusals)  # type: ignore[arg-type]
        app.router.redirect_slashes = False
        return app

    async def health(self, _: Request) -> Response:
        return Response()

    async def info(self, _: Request) -> Response:
        return JSONResponse(self._info)

    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse(self._metrics.render(te_queue_size=self._running))

    async def root(self, request: Request) -> Response:
        """TEI embeds here, or compares if it was started for that task. Here the body's shape decides."""
        raw = await read_json(request)
        try:
            comparison = tei.parse(tei.SimilarityRequest, raw)
        except Rejection:
            return await self._embed(tei.parse(tei.EmbedRequest, raw))
        return await self._compare(comparison)

    async def embed(self, request: Request) -> Response:
        return await self._embed(tei.parse(tei.EmbedRequest, await read_json(request)))

    async def similarity(self, request: Request) -> Response:
        return await self._compare(tei.parse(tei.SimilarityRequest, await read_json(request)))

    async def openai(self, request: Request) -> Response:
        body = tei.parse(tei.OpenAIRequest, await read_json(request))
        done, headers = await self._infer(inference.work_of(body.input, dimensions=body.dimensions))
        write = inference.as_base64 if body.encoding_format == "base64" else inference.as_json
        answer = {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": row, "index": index}
                for index, row in enumerate(write(done.vectors))
            ],
            "model": self._name,
            "usage": {"prompt_tokens": done.tokens, "total_tokens": done.tokens},
        }
        return JSONResponse(answer, headers=headers)

    async def tokenize(self, request: Request) -> Response:
        body = tei.parse(tei.TokenizeRequest, await read_json(request))
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        inference.check_batch(texts)
        inference.check_options(body.prompt_name)
        describe = inference.describe_tokens
        return JSONResponse(
            await self._run(
                lambda: [describe(self._embedder, text, body.add_special_tokens) for text in texts]
            )
        )

    async def decode(self, request: Request) -> Response:
        body = tei.parse(tei.DecodeRequest, await read_json(request))
        inference.check_batch(body.batch, "ids")
        skip = body.skip_special_tokens
        return JSONResponse(await self._run(lambda: [self._embedder.decode(ids, skip) for ids in body.batch]))

    async def _embed(self, body: tei.EmbedRequest) -> Response:
        options = body.model_dump(include={"truncate", "prompt_name", "normalize", "dimensions"})
        done, headers = await self._infer(inference.work_of(body.inputs, left=body.left, **options))
        return JSONResponse(inference.as_json(done.vectors), headers=headers)

    async def _compare(self, body: tei.SimilarityRequest) -> Response:
        inference.check_batch(body.inputs.sentences, "inputs.sentences")
        texts = [body.inputs.source_sentence, *body.inputs.sentences]
        how = body.parameters or tei.SimilarityParameters()
        work = Work(texts, "batch", truncate=how.truncate, left=how.left, prompt_name=how.prompt_name)
        done, headers = await self._infer(work)
        return JSONResponse(inference.as_json(done.vectors[1:] @ done.vectors[0]), headers=headers)

    async def _infer(self, work: Work) -> tuple[Done, dict[str, str]]:
        """Check, count and compute; the answer and the headers that go with it."""
        asked = time.perf_counter()
        self._metrics.count("te_request_count", method=work.method)
        inference.check_batch(work.inputs)
        inference.check_options(work.prompt_name, work.dimensions)
        done = await self._run(lambda: inference.compute(self._embedder, work, asked))
        self._metrics.count("te_request_success", method=work.method)
        self._metrics.count("te_embed_count", len(work.inputs))
        return done, done.headers(asked)

    async def _run(self, function: Callable[[], Result]) -> Result:
        """`function` in the one thread that computes. Raises TeiError if too many wait, or for its fault."""
        if self._running >= self._max_concurrent:
            raise TeiError("Overloaded", "Model is overloaded", "overloaded")
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, function)
        except TeiError:
            raise
        except Exception as error:
            log.error("inference failed: %s", type(error).__name__)  # its text could hold a prompt's
            raise TeiError("Backend", "inference failed", "inference") from None
        finally:
            self._running -= 1

    async def refuse(self, request: Request, error: TeiError) -> Response:
        self._metrics.count("te_request_failure", err=error.counted)
        openai = request.url.path.endswith("/embeddings")
        return JSONResponse(error.body(openai), status_code=error.status)


async def reject(_: Request, error: Rejection) -> Response:
    return PlainTextResponse(error.text, status_code=error.status)


async def nothing_here(_: Request, error: HTTPException) -> Response:
    return Response(status_code=error.status_code, headers=error.headers)


async def read_json(request: Request) -> bytes:
    """The body of a request that says it is JSON. Raises Rejection, before more than the limit is held."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Rejection(415, "Expected request with `Content-Type: application/json`")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > tei.PAYLOAD_LIMIT:
            raise Rejection(413, "Failed to buffer the request body: length limit exceeded")
    return bytes(body)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="meshward.demo.model_server", description="The demo's model server."
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--uds", type=Path, help="Unix socket to bind, mode 0660")
    place.add_argument("--port", type=int, help="TCP port; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address for --port")
    parser.add_argument("--served-model-name", default=tei.MODEL_ID)
    parser.add_argument("--version-label", default="v1", help="named in GET /info, to tell versions apart")
    parser.add_argument("--max-concurrent-requests", type=int, default=64)
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s demo-model %(message)s")
    embedder = Embedder(model_directory())
    embedder.embed([embedder.token_ids("warm up")])
    model = ModelServer(
        embedder, options.served_model_name, options.version_label, options.max_concurrent_requests
    )
    bound = bind_unix(options.uds) if options.uds else bind_loopback(options.host, options.port)
    log.info("%s %s on %s", options.served_model_name, options.version_label, bound.getsockname())
    serve(model.app(), bound)


if __name__ == "__main__":
    try:
        main()
    except MeshwardError as error:
        sys.stderr.write(f"{error.code} {error.message}. {error.remedy}\n")
        sys.exit(error.exit_code)
