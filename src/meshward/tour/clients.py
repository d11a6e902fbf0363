"""How the tour speaks to the edge: the unmodified clients in processes of their own, and plain HTTPS."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from meshward.kit.secret import Secret
from meshward.runtime.place.instance_file import Instance

# What a user would write. The token comes by the environment, so that it stands in no argument list.
HUGGINGFACE = """
import json, os
from huggingface_hub import InferenceClient
client = InferenceClient(model=os.environ["EDGE"] + "/m/minilm", token=os.environ["TOKEN"])
vector = client.feature_extraction("The edge knows who is asking.")
print(json.dumps({"dimensions": int(vector.shape[-1])}))
"""
OPENAI = """
import json, os
from openai import OpenAI
client = OpenAI(base_url=os.environ["EDGE"] + "/m/minilm/v1", api_key=os.environ["TOKEN"])
answer = client.embeddings.with_raw_response.create(model="minilm", input="The edge knows who is asking.")
vector = answer.parse().data[0].embedding
print(json.dumps({"dimensions": len(vector), "request_id": answer.headers["x-request-id"]}))
"""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")

    @property
    def sentence(self) -> str:
        return self.headers.get("x-error-message", "")


def run_client(program: str, instance: Instance, token: Secret) -> dict[str, Any]:
    """Run `program` with the unmodified client; its last line is JSON. Raises RuntimeError with its complaint."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            "PATH": os.environ.get("PATH", ""),
            "HOME": "/nonexistent",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "SSL_CERT_FILE": instance.root_certificate,
            "EDGE": instance.edge_url,
            "TOKEN": token.reveal(),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        complaint = done.stderr.strip().splitlines() or ["no output"]
        raise RuntimeError(f"the client failed: {complaint[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def call(
    instance: Instance,
    path: str,
    body: Any,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """POST `body` as JSON to the edge, trusting only the instance's own root."""
    edge = urlsplit(instance.edge_url)
    context = ssl.create_default_context(cafile=instance.root_certificate)
    connection = http.client.HTTPSConnection(edge.hostname or "", edge.port, context=context, timeout=30)
    send = {"Content-Type": "application/json", **(headers or {})}
    if token is not None:
        send["Authorization"] = f"Bearer {token}"
    try:
        connection.request("POST", path, json.dumps(body), send)
        response = connection.getresponse()
        text = response.read()
        names = {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()
    return Answer(response.status, names, json.loads(text) if text else None)
