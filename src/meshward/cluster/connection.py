"""Requests to one API server, as whom a kubeconfig names. The only module that imports the official client."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from meshward.cluster.refusals import Refused, read_refusal
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.text import one_line

PATIENCE = 10.0
"""Seconds for one request."""
PAGE = 500
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_GONE = 410

Object = dict[str, Any]
Query = Mapping[str, str]
_PLAIN: Query = MappingProxyType({})


class Server(Protocol):
    """What may be asked of an API server. `path` begins with `/`. Each returns the answer's JSON object.

    Each raises `Refused` for what the server refuses, and MeshwardError (MW5060) where no answer came: then nobody
    knows whether it was done.
    """

    name: str

    def get(self, path: str, query: Query = ...) -> Object: ...
    def create(self, path: str, body: Object) -> Object: ...
    def replace(self, path: str, body: Object) -> Object: ...
    def apply(self, path: str, body: Object, query: Query) -> Object: ...
    def merge(self, path: str, body: Object, query: Query) -> Object: ...
    def delete(self, path: str, body: Object, query: Query = ...) -> Object: ...


@dataclass(slots=True)
class Connection:
    """A `Server` by HTTPS."""

    name: str
    _client: Any = field(repr=False)
    _patience: float = PATIENCE

    def get(self, path: str, query: Query = _PLAIN) -> Object:
        return self._ask("GET", path, query)

    def create(self, path: str, body: Object) -> Object:
        return self._ask("POST", path, {}, body)

    def replace(self, path: str, body: Object) -> Object:
        return self._ask("PUT", path, {}, body)

    def apply(self, path: str, body: Object, query: Query) -> Object:
        return self._ask("PATCH", path, query, body, _APPLY)

    def merge(self, path: str, body: Object, query: Query) -> Object:
        return self._ask("PATCH", path, query, body, _MERGE)

    def delete(self, path: str, body: Object, query: Query = _PLAIN) -> Object:
        return self._ask("DELETE", path, query, body)

    def _ask(
        self, method: str, path: str, query: Query, body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        headers = {"Accept": "application/json", "Content-Type": kind}
        # As text: the client makes other types of JSON patches than the one that was named.
        text = json.dumps(body) if body is not None and kind != "application/json" else body
        try:
            asked = self._client.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params=headers,
                body=text,
                auth_settings=["BearerToken"],
            )
            answer = self._client.call_api(*asked, _request_timeout=self._patience)
            data = answer.read()
        except Exception as error:  # of the client, of urllib3, of a command that gives credentials
            raise unreachable_error(self.name, error) from None
        return _answered(answer.status, data)


def _answered(status: int, data: bytes) -> Object:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if status >= 300 or not isinstance(value, dict):
        raise Refused(read_refusal(status, value, data))
    return value


def connect(kubeconfig: Path | None) -> Connection:
    """The API server that `kubeconfig` names; None: the one of $KUBECONFIG, of ~/.kube/config, or of this pod.

    Asks nothing yet. Raises MeshwardError where the client is not installed (MW5062) or no server is named (MW5061).
    """
    try:
        from kubernetes import client, config
    except ImportError:
        what = "the Kubernetes client for Python is not installed here"
        raise MeshwardError(codes.CLUSTER_CLIENT_MISSING, what) from None
    settings = client.Configuration()
    settings.retries = False  # what may be asked again is known to whoever asks
    named = str(kubeconfig) if kubeconfig is not None else None
    said: list[logging.LogRecord] = []

    def keep(record: logging.LogRecord) -> bool:
        said.append(record)
        return False

    # The client logs what a command that gives credentials wrote, and goes on as nobody.
    logging.getLogger().addFilter(keep)
    try:
        if named is None and not _has_kubeconfig(config.KUBE_CONFIG_DEFAULT_LOCATION):
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(config_file=named, client_configuration=settings, persist_config=False)
        if any(record.levelno >= logging.ERROR for record in said):
            raise config.ConfigException("a command in it gave no credentials")
        return Connection(_shown(str(settings.host)), client.ApiClient(configuration=settings))
    except Exception as error:  # the file may hold anything, and name commands and further files
        where = named or config.KUBE_CONFIG_DEFAULT_LOCATION
        why = str(error) if isinstance(error, config.ConfigException) else type(error).__name__
        message = f"the kubeconfig `{where}` names no API server: {one_line(why)}"
        raise MeshwardError(codes.KUBECONFIG_UNUSABLE, message) from None
    finally:
        logging.getLogger().removeFilter(keep)


def _shown(url: str) -> str:
    """Without a name and a password."""
    scheme, _, rest = url.rpartition("://")
    where, slash, path = rest.partition("/")
    return f"{scheme}://{where.rpartition('@')[2]}{slash}{path}" if scheme else where.rpartition("@")[2]


def _has_kubeconfig(paths: str) -> bool:
    return any(Path(each).expanduser().exists() for each in paths.split(":") if each)


def unreachable_error(server: str, error: Exception) -> MeshwardError:
    """Of the error its kind alone is told: its text may name credentials."""
    why = {
        "MaxRetryError": "nobody takes the connection",
        "NewConnectionError": "nobody takes the connection",
        "ConnectTimeoutError": "the connection takes too long",
        "ReadTimeoutError": "it takes too long",
        "ProtocolError": "the connection broke",
        "NameResolutionError": "its name is not known",
    }.get(type(error).__name__, type(error).__name__)
    if getattr(error, "status", None) == 0 and "certificate" in str(error).lower():
        why = "its certificate is not of the authority that the kubeconfig names"
    return MeshwardError(codes.CLUSTER_UNREACHABLE, f"the API server `{server}` did not answer: {why}")


def list_all(server: Server, path: str, query: Query = _PLAIN) -> list[Object]:
    """Every item of the list at `path`, page by page. A list that changed too much meanwhile is read anew."""
    for _ in range(3):
        try:
            return [item for page in _pages(server, path, query) for item in page]
        except Refused as refused:
            if refused.refusal.status != _GONE:
                raise
            last = refused
    raise last


def _pages(server: Server, path: str, query: Query) -> Iterator[list[Object]]:
    onward = ""
    while True:
        answer = server.get(path, {**query, "limit": str(PAGE)} | ({"continue": onward} if onward else {}))
        yield answer.get("items") or []
        onward = (answer.get("metadata") or {}).get("continue") or ""
        if not onward:
            return
