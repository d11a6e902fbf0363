"""The guard's configuration with one part after the other dropped, each as an Envoy of its own behind the bare edge."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from bench import requests
from bench.bare import Lane, bare_edge, bare_guard, envoy, lane
from bench.load import Target
from bench.processes import BenchError, Meter
from bench.sides import Sides
from meshward.spiffe.ids import SpiffeId
from meshward.targets.envoy.files import GuardIdentity, render
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardPart, guard_view
from meshward.targets.envoy.wire import JWT_RESOURCE, LIMIT, ONE_GRANT
from meshward.tokens.key_store import load as load_keys
from meshward.tokens.txn import Transaction, TransactionTokenMinter

GUARD = {
    "bare": "mTLS in, one route, a unix socket out",
    "+ strictness": "exact routes, caller, body size, names of callers taken off, connection limits",
    "+ token": "jwt_authn: the Transaction Token, from its cache; permission, subject, a grant",
    "+ limit": "local rate limit, a bucket for each subject and grant",
    "+ log": "one JSON line, and what was verified kept for it: the full guard",
}
Json = dict[str, Any]


def _manager(bootstrap: Json) -> Any:
    return bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][-1]["typed_config"]


def without_log(bootstrap: Json) -> None:
    del _manager(bootstrap)["access_log"]
    _drop_filter(bootstrap, "envoy.filters.http.set_filter_state")


def without_limit(bootstrap: Json) -> None:
    _drop_filter(bootstrap, LIMIT)
    del _manager(bootstrap)["route_config"]["virtual_hosts"][0]["typed_per_filter_config"]


def without_token(bootstrap: Json) -> None:
    _drop_filter(bootstrap, JWT_RESOURCE)
    _drop_filter(bootstrap, ONE_GRANT)
    for route in _manager(bootstrap)["route_config"]["virtual_hosts"][0]["routes"]:
        del route["typed_per_filter_config"][JWT_RESOURCE]


def _drop_filter(bootstrap: Json, name: str) -> None:
    filters = _manager(bootstrap)["http_filters"]
    left = [each for each in filters if each["name"] != name]
    if len(left) == len(filters):
        raise BenchError(f"a guard has no filter `{name}`: bring bench/guard_variants.py up to date")
    filters[:] = left


_DROPS: dict[str, Callable[[Json], None]] = {
    "+ log": lambda _: None,
    "+ limit": without_log,
    "+ token": without_limit,
    "+ strictness": without_token,
}


@contextmanager
def guard_variants(both: Sides) -> Iterator[tuple[dict[str, Target], Callable[[], None]]]:
    """One Envoy for each variant, from bare to full; and what to call at least once in 40 s, for a fresh token."""
    request = both.directory / "guards.request"
    refresh = _refresher(both, request)
    refresh()
    with ExitStack() as stack:
        pids, lanes = {}, {}
        for name, (bootstrap, place) in _bootstraps(both).items():
            socket = place / "guard.sock"
            pids[name], lanes[name] = (
                stack.enter_context(envoy(place, bootstrap, socket)),
                lane(socket, both.guarded.dns_name),
            )
        stack.enter_context(
            bare_edge(both.directory / "guards-edge", both.whole.authority, list(lanes.values()))
        )
        yield {name: _target(lanes[name], pids[name], request) for name in GUARD}, refresh


def _target(way: Lane, pid: int, request: Any) -> Target:
    target = Target(way.port, request, Meter({"guard": pid}))
    target.must_serve("a variant of the guard")
    return target


def _bootstraps(both: Sides) -> dict[str, tuple[Json, Any]]:
    place = both.directory / "g"
    name = both.guarded.dns_name
    found = {"bare": (bare_guard(place, both.whole.authority, both.mock.socket, name), place)}
    left: Json | None = None
    for number, (part, drop) in enumerate(_DROPS.items()):
        place = both.directory / f"g{number}"
        place.mkdir()
        left = copy.deepcopy(left) if left else full_guard(both)
        drop(left)
        found[part] = (json.loads(json.dumps(left).replace("@PLACE@", str(place))), place)
    return found


def full_guard(both: Sides) -> Json:
    """The full guard with everything inline, as the vendor judges it; it logs, and is wherever `@PLACE@` is put."""
    view = guard_view(both.whole.plan, GuardPart(both.guarded.model, both.guarded.version))
    authority, keys = both.whole.authority, load_keys(both.whole.state / "keys")
    svid = authority.issue(
        SpiffeId(view.trust_domain, f"/model/{view.model}"), view.dns_name, datetime.now(UTC)
    )
    identity = GuardIdentity(svid.chain, svid.key, authority.root_pem, keys.public_jwks()["keys"])
    files = render(view, GuardSettings("/@PLACE@"), identity)
    bootstrap: Json = json.loads(files.twin.decode().replace("/@PLACE@", "@PLACE@"))
    _manager(bootstrap)["access_log"][0]["typed_config"]["path"] = "@PLACE@/access.log"
    return bootstrap


def _refresher(both: Sides, request: Any) -> Callable[[], None]:
    """Writes the request as the edge sends it, with a Transaction Token of this moment: one lives for 60 s."""
    domain = both.whole.plan.trust_domain
    key = load_keys(both.whole.state / "keys").current
    minter = TransactionTokenMinter(
        key, issuer=f"https://{requests.HOSTNAME}", audience=domain, workload=f"spiffe://{domain}/edge"
    )
    body = requests.prompt()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()

    def write() -> None:
        now = time.time()
        transaction = Transaction(
            subject="test:alice", permission="mock.infer", model="mock", action="infer", grant="science",
            revision=1, roles=["scientist"], proof={"ath": "a" * 43}, client="tests", expires_at=int(now) + 600,
        )  # fmt: skip
        headers = {
            "Txn-Token": minter.mint(transaction, now).token.reveal(),
            "X-Request-Id": "0123456789abcdef" * 2,
            "Content-Digest": f"sha-256=:{digest}:",
            "Accept-Encoding": "identity",
        }
        request.write_bytes(requests.post("/m/mock/embed", body, headers))

    return write
