"""Several servers behind one guard: each request goes to one that is there, and to no second one once it was read."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from guard_harness import DEADLINE, Guard, Model, Seen, running

from meshward.kit.hop_socket import Asking, Listener
from meshward.kit.secret import Secret
from meshward.targets.envoy.projection import GuardedRoute
from meshward.targets.envoy.resources import SentKey
from meshward.testing.waiting import eventually

HEALTH = "/health"


@contextlib.contextmanager
def models(directory: Path, count: int) -> Iterator[list[Model]]:
    """The first on a port, the others on unix sockets."""
    started = [Model(None), *(Model(str(directory / f"{number}.sock")) for number in range(1, count))]
    try:
        yield started
    finally:
        for model in started:
            model.close()


@contextlib.contextmanager
def guarding(several: list[Model], sent: SentKey | None = None, **changes: object) -> Iterator[Guard]:
    """A guard in front of all of them."""
    replicas = tuple(model.url for model in several[1:])
    with running(model=several[0], sent=sent, replicas=replicas, **changes) as guard:
        yield guard


def asked(model: Model) -> list[Seen]:
    """What reached it, but for the guard's own questions."""
    return [seen for seen in model.seen if seen.target != HEALTH]


def asking(guard: Guard) -> Asking:
    """Its admin interface."""
    return Asking(Listener(Path(guard.settings.admin_socket), os.geteuid()), DEADLINE, 64 << 20)


def state_of(guard: Guard, model: Model) -> dict[str, object]:
    """What the guard thinks of a server."""
    clusters = json.loads(asking(guard).text("/clusters?format=json"))["cluster_statuses"]
    hosts = {_url(host["address"]): host["health_status"] for host in clusters[0]["host_statuses"]}
    found: dict[str, object] = hosts[model.url]
    return found


def _url(address: dict[str, dict[str, object]]) -> str:
    if "pipe" in address:
        return f"unix:{address['pipe']['path']}"
    return f"http://{address['socket_address']['address']}:{address['socket_address']['port_value']}"


def test_requests_are_spread_over_ports_and_sockets(tmp_path: Path) -> None:
    with models(tmp_path, 3) as several, guarding(several) as guard:
        assert {guard.ask().status for _ in range(60)} == {200}
        counts = [len(asked(model)) for model in several]
        assert sum(counts) == 60 and min(counts) >= 5, counts


def test_servers_come_and_go_by_one_file_and_no_stream_is_cut(tmp_path: Path) -> None:
    with models(tmp_path, 2) as (first, second), running(model=first) as guard:
        first.streaming.set()
        stream, connection = guard.connect(), guard.connect()
        head = f"POST /embed HTTP/1.1\r\nHost: {guard.view.dns_name}\r\nTxn-Token: {guard.token()}\r\n"
        stream.sendall(f"{head}X-Request-Id: s\r\nContent-Length: 0\r\n\r\n".encode())
        eventually(lambda: first.seen, what="the stream has begun")
        more = guard.render(replicas=(second.url,))
        assert {name for name in more.xds if more.xds[name] != guard.files.xds[name]} == {"cds"} | _SIGNED
        assert more.bootstrap == guard.files.bootstrap
        guard.apply(more)
        first.streaming.clear()
        eventually(
            lambda: {guard.ask(connection=connection).status} == {200} and second.seen, what="a new one"
        )
        guard.apply(guard.render(upstream=second.url))
        before = len(first.seen)
        assert {guard.ask(connection=connection).status for _ in range(10)} == {200}
        assert len(first.seen) == before
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += stream.recv(4096) or pytest.fail(f"cut after {received!r}")
        assert received.startswith(b"HTTP/1.1 200") and b"one" in received and b"two" in received


_SIGNED: set[str] = set()  # the identity of a guard is rendered once: nothing else may differ


def test_a_server_that_refuses_connections_costs_no_request(tmp_path: Path) -> None:
    with models(tmp_path, 3) as several, guarding(several) as guard:
        several[0].close()
        several[1].close()
        assert [guard.ask().status for _ in range(30)] == [200] * 30
        assert len(asked(several[2])) == 30


def test_a_post_that_a_model_has_read_is_never_sent_again(tmp_path: Path) -> None:
    """It is seen once, by one of them, and the client is told that there is no answer."""
    with models(tmp_path, 3) as several, guarding(several) as guard:
        for model in several:
            model.hang_up.set()
        bodies = [f'{{"number": {number}}}'.encode() for number in range(12)]
        answers = [guard.ask(body=body).status for body in bodies]
        seen = [request.body for model in several for request in model.seen]
        assert sorted(seen) == sorted(bodies)
        assert all(500 <= status < 600 for status in answers), answers


def test_one_that_breaks_off_does_not_take_the_others_requests(tmp_path: Path) -> None:
    with models(tmp_path, 2) as (broken, well), guarding([broken, well]) as guard:
        broken.hang_up.set()
        bodies = [f'{{"number": {number}}}'.encode() for number in range(20)]
        answers = {body: guard.ask(body=body).status for body in bodies}
        seen = [request.body for model in (broken, well) for request in model.seen]
        assert sorted(seen) == sorted(bodies)
        assert {body for body, status in answers.items() if status == 200} == {s.body for s in well.seen}
        assert 1 <= len(broken.seen) <= 4, "it is left out after a few"


@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_models_own_answers_do_not_put_it_aside(tmp_path: Path, status: int) -> None:
    with models(tmp_path, 2) as (refusing, well), guarding([refusing, well]) as guard:
        refusing.statuses["/embed"] = status
        answers = [guard.ask().status for _ in range(60)]
        assert set(answers) == {200, status}
        assert len(refusing.seen) > 10
        assert not _is_out(guard, refusing)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_one_that_says_nobody_is_there_is_left_out_for_a_while(tmp_path: Path, status: int) -> None:
    with models(tmp_path, 2) as (gone, well), guarding([gone, well], health=HEALTH) as guard:
        gone.statuses["/embed"] = status
        healthy = len(gone.seen)

        def gets_nothing() -> bool:
            """While it is left out; on a slow machine that may be over too soon to be seen."""
            guard.ask()
            if not _is_out(guard, gone):
                return False
            before, statuses = len(asked(gone)), {guard.ask().status for _ in range(20)}
            if not _is_out(guard, gone):
                return False
            assert statuses == {200} and len(asked(gone)) == before
            return True

        eventually(gets_nothing, what="a time in which it is left out")
        gone.statuses.clear()
        eventually(lambda: not _is_out(guard, gone), what="it is asked again")
        questions = [seen for seen in gone.seen[healthy:] if seen.target == HEALTH]
        assert len(questions) > 2, "that its health route answers is no reason to take it back at once"


def test_never_all_of_them_are_left_out(tmp_path: Path) -> None:
    with models(tmp_path, 3) as several, guarding(several) as guard:
        for model in several:
            model.statuses["/embed"] = 503
        answers = [guard.ask()]

        def two_are_out() -> bool:
            answers.append(guard.ask())
            out = sum(_is_out(guard, model) for model in several)
            assert out < 3
            return out == 2

        eventually(two_are_out, what="two that are left out")
        answers += [guard.ask() for _ in range(20)]
        assert not all(_is_out(guard, model) for model in several)
        assert sum(len(model.seen) for model in several) == len(answers)
        assert all("x-mw-layer" not in answer.headers for answer in answers), "each answer is a model's"


def test_one_that_is_ill_gets_nothing_while_another_is_well(tmp_path: Path) -> None:
    """Also when two of three are ill: Envoy's own rule would send to all of them then."""
    with models(tmp_path, 3) as (ill, slow, well), guarding([ill, slow, well], health=HEALTH) as guard:
        ill.statuses[HEALTH] = 503
        slow.mute.set()
        eventually(
            lambda: all(_is_ill(guard, model) for model in (ill, slow)), what="both are known to be ill"
        )
        before = len(asked(ill)), len(asked(slow))
        assert {guard.ask().status for _ in range(20)} == {200}
        assert (len(asked(ill)), len(asked(slow))) == before
        ill.statuses.clear()
        eventually(lambda: not _is_ill(guard, ill), what="it is well again")
        eventually(
            lambda: guard.ask().status == 200 and len(asked(ill)) > before[0], what="it gets requests again"
        )


def test_when_all_are_ill_all_are_tried(tmp_path: Path) -> None:
    """A health route may be slow because everything is busy: that must not become an outage."""
    with models(tmp_path, 2) as several, guarding(several, health=HEALTH) as guard:
        for model in several:
            model.statuses[HEALTH] = 500
        eventually(lambda: all(_is_ill(guard, model) for model in several), what="all are known to be ill")
        assert {guard.ask().status for _ in range(20)} == {200}
        panics = asking(guard).text("/stats?filter=^cluster.model.lb_healthy_panic$")
        assert int(panics.split(": ")[1]) >= 20


def test_a_single_server_is_not_cut_off_by_its_health_route(tmp_path: Path) -> None:
    with models(tmp_path, 1) as (only,), running(model=only, health=HEALTH) as guard:
        only.statuses[HEALTH] = 503
        eventually(lambda: _is_ill(guard, only), what="the edge can see it")
        assert guard.ask().status == 200


def test_asking_for_health_tells_nothing_and_leaves_no_line(tmp_path: Path) -> None:
    sent = SentKey(Secret("k-1"), "e")
    with models(tmp_path, 2) as several, guarding(several, sent=sent, health=HEALTH) as guard:
        several[0].statuses[HEALTH] = 401  # a server that wants its key for everything is there all the same
        eventually(lambda: all(len(model.seen) >= 3 for model in several), what="each was asked, unasked")
        assert not any(_is_ill(guard, model) for model in several)
        for seen in (request for model in several for request in model.seen):
            assert (seen.method, seen.target, seen.body) == ("GET", HEALTH, b"")
            assert {name.lower() for name, _ in seen.headers} == {"host", "user-agent"}
        assert guard.ask(headers=(("X-Request-Id", "mine"),)).status == 200
        lines = guard.log_lines(1)
        assert len(lines) == 1 and lines[0]["path"] == "/embed"
        text = asking(guard).text("/stats?filter=^http.guard.downstream_rq_completed$")
        assert text.strip().endswith(": 1"), "what the audit counts"


def test_a_server_without_health_route_is_not_asked(tmp_path: Path) -> None:
    with models(tmp_path, 2) as several, guarding(several) as guard:
        assert guard.ask().status == 200
        assert "health_check.attempt" not in asking(guard).text("/stats?filter=health_check")
        assert sum(len(model.seen) for model in several) == 1


def _is_out(guard: Guard, model: Model) -> bool:
    return "failed_outlier_check" in state_of(guard, model)


def _is_ill(guard: Guard, model: Model) -> bool:
    return "failed_active_health_check" in state_of(guard, model)


KEY = SentKey(Secret("the-key-of-the-server"), "edition-1")
NEXT = SentKey(Secret("the-next-key"), "edition-2")
FORGED = (
    (("Authorization", "Bearer forged"),),
    (("authorization", "Bearer forged"), ("AUTHORIZATION", "Basic Zm9yZ2Vk")),
    (("Authorization", ""),),
    (("Proxy-Authorization", "Bearer forged"), ("X-Envoy-Authorization", "forged")),
    (("Connection", "authorization"),),
)


@pytest.mark.parametrize("forged", FORGED)
def test_the_server_gets_the_guards_key_and_no_other(forged: tuple[tuple[str, str], ...]) -> None:
    with running(sent=KEY) as guard:
        assert guard.ask(headers=forged).status == 200
        values = [value for name, value in guard.model.seen[0].headers if name.lower() == "authorization"]
        assert values == ["Bearer the-key-of-the-server"]
        assert "forged" not in str(guard.model.seen[0].headers)


def test_a_guard_without_key_passes_none_on() -> None:
    with running() as guard:
        assert guard.ask(headers=FORGED[1]).status == 200
        assert guard.model.seen[0].header("authorization") is None


def test_what_is_refused_gets_no_key() -> None:
    with running(sent=KEY) as guard:
        assert guard.ask(token=None).status == 401
        assert guard.ask("/v1/secret").status == 403
        assert guard.model.seen == []


def test_the_key_changes_with_the_next_request_of_an_open_connection() -> None:
    with running(sent=KEY) as guard:
        connection = guard.connect()
        assert guard.ask(connection=connection).status == 200
        guard.apply(guard.render(sent=NEXT))
        assert guard.ask(connection=connection).status == 200
        keys = [seen.header("authorization") for seen in guard.model.seen]
        assert keys == ["Bearer the-key-of-the-server", "Bearer the-next-key"]


def test_without_its_key_a_guard_sends_nothing() -> None:
    with running(sent=KEY, broken="credential") as guard:
        assert guard.ask(headers=FORGED[0]).status == 401
        assert guard.model.seen == []


def test_a_second_try_has_the_key_too(tmp_path: Path) -> None:
    with models(tmp_path, 2) as (dead, well), guarding([dead, well], sent=KEY) as guard:
        dead.close()
        assert [guard.ask().status for _ in range(8)] == [200] * 8
        assert {seen.header("authorization") for seen in well.seen} == {"Bearer the-key-of-the-server"}


def test_the_key_is_in_no_file_but_its_own_and_nothing_says_it() -> None:
    with running(sent=KEY) as guard:
        assert guard.ask().status == 200
        secret = KEY.secret.reveal()
        held = {
            file.name for file in guard.directory.rglob("*") if file.is_file() and secret in file.read_text()
        }
        assert held == {"credential.json"}
        assert secret.encode() not in guard.files.twin
        assert secret not in repr(guard.files) + repr(KEY)
        for path in ("/config_dump?include_eds", "/stats", "/clusters", "/init_dump", "/server_info"):
            assert secret not in asking(guard).text(path)
        assert secret not in Path(f"/proc/{guard.process.pid}/cmdline").read_text()


def test_only_a_guard_that_sends_a_key_is_started_for_one() -> None:
    with running() as guard:
        assert b"credential" not in guard.files.bootstrap
        assert (
            guard.render(routes=(GuardedRoute("GET", "/info", "m.1.describe"),)).bootstrap
            == guard.files.bootstrap
        )
        assert guard.render(credential=True, sent=KEY).bootstrap != guard.files.bootstrap
        with pytest.raises(ValueError, match="needs one"):
            guard.render(credential=True)
