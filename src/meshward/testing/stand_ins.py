"""Stand-ins for all that a policy names outside: its issuers, its model servers, their secrets, the edge's address.

The rules stay as they are written, to the letter: only where keys, servers and secrets are found is another.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshward.kit.durable import write_atomic
from meshward.plan.resolve import resolve
from meshward.policy.parse import to_json
from meshward.policy.schema import Policy
from meshward.testing.given import policy_of
from meshward.testing.issuer import Issuer
from meshward.testing.recorder import Recorder


@dataclass(frozen=True, slots=True)
class StandIns:
    """Made in `directory` when a policy first needs them; `models` are by `<model>/<version>`.

    A guard sends the server `secret of NAME` where the policy names the credential NAME.
    """

    directory: Path
    port: int
    issuers: dict[str, Issuer] = field(default_factory=dict)
    models: dict[str, Recorder] = field(default_factory=dict)

    def put_into(self, policy: Policy) -> Policy:
        """`policy`, with these in the place of what is outside. Raises MeshwardError where that is none any more."""
        text: dict[str, Any] = json.loads(to_json(policy))
        edge = text.setdefault("edge", {})
        edge["listen"] = f"127.0.0.1:{self.port}"
        edge.pop("certificate", None)
        self._issuers(policy, text)
        for name, credential in text.get("credentials", {}).items():
            credential.clear()
            credential.update({"from": "file", "path": str(self._secret(name))})
        for model, entry in text["models"].items():
            for version, server in entry["versions"].items():
                server.pop("replicas", None)
                server["url"] = f"unix:{self._server(f'{model}/{version}').path}"
        return policy_of(text)

    def close(self) -> None:
        for model in self.models.values():
            model.close()

    def _issuers(self, policy: Policy, text: dict[str, Any]) -> None:
        for name, trusted in resolve(policy).issuers.items():
            if name not in self.issuers:
                self.issuers[name] = Issuer.of(trusted)
            keys = self.directory / f"{name}.jwks.json"
            self.issuers[name].write_jwks(keys)
            text["issuers"][name]["jwks"] = {"file": str(keys)}

    def _secret(self, name: str) -> Path:
        path = self.directory / f"{name}.secret"
        if not path.exists():
            write_atomic(path, f"secret of {name}\n")
        return path

    def _server(self, key: str) -> Recorder:
        if key not in self.models:
            path = self.directory / f"{len(self.models)}.sock"
            self.models[key] = Recorder(path)
        return self.models[key]


_kept: list[socket.socket] = []


def free_port() -> int:
    """A port of this machine that nobody listens on, and that the kernel gives to nobody else while we run.

    It stays bound, with SO_REUSEADDR and without a listener: servers, which all set that, may listen there.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    _kept.append(probe)
    return int(probe.getsockname()[1])
