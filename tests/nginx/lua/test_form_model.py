"""The model in a multipart form: what clients write is read, and no reader of forms finds another model."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import subprocess
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random

import httpx
import httpx2
import pytest
import requests
from body_reader import Found, find, put
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from werkzeug.formparser import parse_form_data

Form = tuple[str, bytes]  # Content-Type and body

AUDIO = b"RIFF\x00\r\n--\r\n\r\n\xff" * 10


# --- what clients write -------------------------------------------------------------------------------------------


def by_openai() -> Form:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        request.read()
        sent.append(request)
        return httpx2.Response(200, json={"text": ""})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = OpenAI(base_url="http://edge/v1", api_key="x", http_client=http)
    client.audio.transcriptions.create(
        model="org/name",
        file=("a b.wav", AUDIO),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        extra_body={"seed": 1},
    )
    return sent[0].headers["content-type"], sent[0].content


def by_httpx() -> Form:
    files = {"file": ("é.wav", AUDIO, "audio/wav")}
    request = httpx.Request("POST", "http://edge", data={"model": "org/name", "n": "1"}, files=files)
    return request.headers["content-type"], request.read()


def by_requests() -> Form:
    files = {"file": ("a.wav", AUDIO, "audio/wav")}
    request = requests.Request("POST", "http://edge", data={"model": "org/name"}, files=files).prepare()
    return request.headers["content-type"], request.body


@contextmanager
def listening(sent: list[Form]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append((self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def by_curl(directory: Path) -> Form:
    (directory / "a.wav").write_bytes(AUDIO)
    sent: list[Form] = []
    with listening(sent) as port:
        form = ["-F", "file=@a.wav", "-F", "model=org/name", "-F", "language=de;type=text/plain"]
        subprocess.run(["curl", "-sf", *form, f"http://127.0.0.1:{port}/"], cwd=directory, check=True)
    return sent[0]


NODE = """
const form = new FormData();
form.append("file", new Blob([Buffer.from(process.argv[1], "base64")], {type: "audio/wav"}), "a.wav");
form.append("model", "org/name");
form.append("timestamp_granularities[]", "word");
const request = new Response(form);
request.arrayBuffer().then((body) => console.log(JSON.stringify(
    [request.headers.get("content-type"), Buffer.from(body).toString("base64")])));
"""


def by_node() -> Form:
    run = subprocess.run(["node", "-e", NODE, b64encode(AUDIO)], capture_output=True, check=True)
    kind, body = json.loads(run.stdout)
    return kind, b64decode(body)


@pytest.mark.parametrize("client", ["openai", "httpx", "requests", "curl", "node"])
def test_a_form_of_every_client_is_read_and_only_the_model_changes(client: str, tmp_path: Path) -> None:
    if client in ("curl", "node") and shutil.which(client) is None:
        pytest.skip(f"needs {client}")
    kind, body = by_curl(tmp_path) if client == "curl" else globals()[f"by_{client}"]()
    found = find(body, kind)
    assert isinstance(found, Found)
    assert found.name == "org/name"
    changed = put(body, found, 'a "b" \\')
    before, after = fields(kind, body), fields(kind, changed)
    assert before is not None
    assert after == [(name, 'a "b" \\' if name == "model" else value) for name, value in before]
    assert changed.replace(b'a "b" \\', b"org/name") == body


# --- one shape ----------------------------------------------------------------------------------------------------

KIND = "multipart/form-data; boundary=b0"
MODEL = b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n'
OTHER = b'--b0\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
END = b"--b0--\r\n"


def part(*head: bytes, value: bytes = b"a") -> bytes:
    return b"--b0\r\n" + b"".join(line + b"\r\n" for line in head) + b"\r\n" + value + b"\r\n"


def named(disposition: bytes, *more: bytes) -> bytes:
    return part(b"Content-Disposition: form-data; " + disposition, *more)


def test_a_form_names_its_model() -> None:
    typed = named(b'name="model"', b"Content-Type: text/plain; charset=UTF-8")
    for body, kind in [
        (OTHER + MODEL + END, KIND),
        (typed + OTHER + END, KIND),
        (MODEL + b"--b0--", 'multipart/form-data;boundary="b0"'),
    ]:
        at = body.index(b"\r\na\r\n") + 2
        assert find(body, kind) == Found(at, at + 1, "a")
    assert find(OTHER + END, KIND) == "absent"
    assert find(named(b'name="models"') + named(b'name="a[model]"') + END, KIND) == "absent"


REFUSED = {
    "twice": [MODEL + MODEL + END],
    "misspelled": [
        MODEL + named(name) + END
        for name in (
            b'name="Model"',
            b'name="MODEL"',
            b'name="model[]"',
            b'name="model[x]"',
            b'name="[model]"',
            b'name="mo_del"',
        )
    ],
    "form_file": [
        named(b'name="model"; filename="a"') + END,
        named(b'name="model"; filename=""') + END,
        named(b'name="model"', b"Content-Type: text/plain; charset=utf-7") + END,
        named(b'name="model"', b"Content-Type: application/json") + END,
    ],
    "form_head": [
        *(
            MODEL + named(line) + END
            for line in (
                b"name*=utf-8''model",
                b'name="mo\\del"',
                b'name="mod%65l"',
                b"name=model",
                b'name="x"; name="model"',
                b'name="x"; name*=model',
                b'name="x"; filename="a"; name="model"',
                b'name="x"; filename="a;name=model"',
                b'name="x"; filename="a\\"; name="model"',
                b"name=\"x\"; filename*=utf-8''a",
                b'name="model ',
                b'name=" model"',
                b'name="model\x00"',
                b'name="m\xc3\xb6del"',
                b'name="x";\r\n name="model"',
                b'name="x"\n name="model"',
                b'name="_charset_"',
                b'Name="x"',
                b'name=""',
            )
        ),
        MODEL + part(b'Content-Disposition: attachment; name="model"') + END,
        MODEL + part(b'content-disposition : form-data; name="model"') + END,
        MODEL
        + part(b'Content-Disposition: form-data; name="x"', b'Content-Disposition: form-data; name="model"')
        + END,
        MODEL + named(b'name="x"', b"Content-Transfer-Encoding: base64") + END,
        MODEL + named(b'name="x"', b"Content-Type: multipart/mixed; boundary=c") + END,
        MODEL + named(b'name="x"', b"Content-Type: text/plain", b"Content-Type: text/plain") + END,
        MODEL + named(b'name="x"', b"X: y") + END,
        MODEL + part() + END,
        MODEL + part(b"Content-Type: text/plain") + END,
        MODEL + b'--b0\r\nContent-Disposition: form-data; name="x"\r\n' + END,
        MODEL + named(b'name="x"; filename="%s"' % (b"a" * 5000)) + END,
    ],
    "form_shape": [
        b"",
        MODEL,
        b"\r\n" + MODEL + END,
        b"text\r\n" + MODEL + END,
        MODEL + END + b"text",
        MODEL + END + MODEL + END,
        MODEL + b"--b0--\n",
        MODEL + b"--b0 \r\n" + MODEL[6:] + END,
        MODEL + b"--b0x\r\n" + MODEL[6:] + END,
        MODEL + part(b'Content-Disposition: form-data; name="x"', value=b"1\n" + MODEL[:-3]) + END,
        MODEL + part(b'Content-Disposition: form-data; name="x"', value=b"x--b0") + END,
        MODEL.replace(b"\r\n", b"\n") + END,
        MODEL.replace(b"--b0", b"--B0") + END,
    ],
    "not_plain": [
        part(b'Content-Disposition: form-data; name="model"', value=value) + END
        for value in (
            b"",
            b"a\r\n",
            b"a\nb",
            b"\x00",
            b"\xff",
            b"\xc2\x80",
            b"a" * 257,
            b"\xed\xa0\x80",
            b"\xe0\x80\x80",
        )
    ],
}


@pytest.mark.parametrize(
    ("word", "body"), [(word, body) for word, bodies in REFUSED.items() for body in bodies]
)
def test_what_readers_of_forms_may_differ_about_is_refused(word: str, body: bytes) -> None:
    assert find(body, KIND) == word


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="b0',
        "multipart/form-data; boundary=b0; boundary=b1",
        "multipart/form-data; boundary=b0, b1",
        "multipart/form-data; boundary*=b0",
        "multipart/form-data; charset=utf-16; boundary=b0",
        'multipart/form-data; boundary="b\\0"',
        "multipart/form-data; boundary=b0 ",
        f"multipart/form-data; boundary={'b' * 71}",
        "multipart/mixed; boundary=b0",
        "x, multipart/form-data; boundary=b0",
    ],
)
def test_a_boundary_that_readers_may_read_otherwise_is_refused(kind: str) -> None:
    assert find(MODEL + END, kind) == "form_boundary"


# --- other readers ------------------------------------------------------------------------------------------------


def fields(kind: str, body: bytes) -> list[tuple[str, str]] | None:
    """The form as starlette reads it; None: not at all."""

    async def pieces() -> Iterator[bytes]:
        yield body

    async def read() -> list[tuple[str, str]]:
        form = await MultiPartParser(Headers({"content-type": kind}), pieces()).parse()
        return [
            (name, (await one.read()).hex() if isinstance(one, UploadFile) else one)
            for name, one in form.multi_items()
        ]

    try:
        return asyncio.run(read())
    except (MultiPartException, UnicodeDecodeError, ValueError):
        return None


def others(kind: str, body: bytes) -> list[tuple[str, str]]:
    """The form as Werkzeug reads it, which accepts bare line feeds and text around."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    _, form, files = parse_form_data(environ)
    return [*form.items(multi=True), *((name, "a file") for name in files)]


def like_model(name: str) -> bool:
    return name.lower().strip("[]").split("[")[0].strip("_-.") == "model"


def agrees(kind: str, body: bytes) -> Found | str:
    found = find(body, kind)
    expected = {"absent": []}.get(found) if isinstance(found, str) else [("model", found.name)]
    if expected is not None:
        for read in (fields, others):
            members = read(kind, body)
            assert (
                members is None or [(name, value) for name, value in members if like_model(name)] == expected
            ), read
    return found


HEADS = [
    *(
        b'Content-Disposition: form-data; name="%s"' % name
        for name in (b"model", b"model", b"x", b"Model", b"model[]", b"")
    ),
    b'Content-Disposition: form-data; name="x"; filename="a.wav"',
    b"Content-Disposition: form-data; name=model",
    b"Content-Disposition: form-data; name*=utf-8''model",
    b'content-disposition: form-data; name="model"',
]
VALUES = [b"a", b"org/name", b"", b"\r\n", b"\r\n--", b"--b", b"\n--b0\n", AUDIO, "é".encode()]
SPLICES = [
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"--",
        b"--b0",
        b"--b0\r\n",
        b"\r\n--b0--",
        b'"',
        b";",
        b"\\",
        b" ",
        b"\t",
        b"\x00",
        b"-",
    ),
    *(
        b"; name=model",
        b'; name="model"',
        b'; filename="a"',
        b'Content-Disposition: form-data; name="model"\r\n',
        MODEL,
    ),
]


def form(parts: list[tuple[bytes, bytes]], random: Random) -> bytes:
    body = b"".join(part(head, value=value) for head, value in parts) + END
    for _ in range(random.randrange(4)):
        at = random.randrange(len(body) + 1)
        body = body[:at] + random.choice([b"", *SPLICES]) + body[at + random.choice([0, 0, 1, 2]) :]
    return body


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(HEADS), st.sampled_from(VALUES)), max_size=4),
    st.randoms(use_true_random=False),
)
def test_no_reader_finds_another_model(parts: list[tuple[bytes, bytes]], random: Random) -> None:
    agrees(KIND, form(parts, random))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=3), st.integers(0, 3))
def test_whatever_the_files_hold_the_model_is_found(contents: list[bytes], at: int) -> None:
    file = b'Content-Disposition: form-data; name="file"; filename="a"'
    parts = [
        part(file, b"Content-Type: audio/wav", value=content)
        for content in contents
        if b"--b0" not in content
    ]
    body = b"".join([*parts[:at], MODEL, *parts[at:], END])
    found = agrees(KIND, body)
    assert isinstance(found, Found)
    assert found.name == "a"


@pytest.mark.parametrize(
    "body",
    [
        part(HEADS[6], value=b"\r" * 1_000_000) + END,
        part(HEADS[6], value=b"\r\n--b" * 200_000) + END,
        OTHER * 20_000 + END,
    ],
)
def test_others_get_their_turn_every_few_bytes(body: bytes) -> None:
    pauses: list[int] = []
    assert find(body, KIND, pauses) == "absent"
    assert len(pauses) >= len(body) // 70_000


def test_a_boundary_at_any_place_of_a_search_is_seen() -> None:
    for length in range(65_400, 65_560):
        body = part(HEADS[6], value=b"a" * length) + MODEL + END
        assert isinstance(find(body, KIND), Found)
