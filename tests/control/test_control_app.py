"""The control API in its event loop: it never blocks there, and answers only so many at a time."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import TypeAdapter

from meshward.apply.changes import Changes
from meshward.apply.live_revision import LiveRevision
from meshward.apply.tally import MOST as REFUSED_MOST
from meshward.apply.tally import TOLD
from meshward.callers.revocations import Revoked
from meshward.control import ask as asking
from meshward.control.https import MOST, MOST_OF_ONE, ControlApi
from meshward.control.operators import MOST_UNPROVEN
from meshward.control.verbs.request import Controlled, Fields, Reply, Verb
from meshward.kit.boot import Moment
from meshward.kit.clock import Clock, system_clock
from meshward.kit.wellknown import CONTROL
from meshward.oidc.jwk import VerificationKey
from meshward.oidc.kept_keys import KEPT, KeptKeys
from meshward.plan.resolve import resolve
from meshward.runtime.place.directories import State
from meshward.testing.issuer import Issuer
from tests.apply.control import write_operated
from tests.apply.test_changes import told
from tests.stack.live import policy_of
from tests.stack.running import eventually


class World:
    """The application, and an instance of which it sees only what it must."""

    def __init__(
        self,
        directory: Path,
        clock: Clock = system_clock,
        keep: Callable[[KeptKeys], None] = lambda _: None,
        issuer: Issuer | None = None,
    ) -> None:
        self.issuer = issuer or Issuer()
        self.issuer.write_jwks(directory / "jwks.json")
        write_operated(directory / "jwks.json", 8443, directory)
        self.text = json.loads((directory / "policy.yaml").read_text())
        if issuer is not None:  # it is down
            (directory / "jwks.json").unlink()
        machine = SimpleNamespace(state=State(directory))
        changes = Changes(directory / "changes.log", clock)
        self.sent: list[dict[str, Any]] = []  # the last answer
        self.mesh: Any = SimpleNamespace(machine=machine, changes=changes, live=None, revoked=Revoked())
        self.stand(self.text)
        unasked: Any = None
        self.api = ControlApi(Controlled(self.mesh, traffic=unasked), keep)

    def stand(self, text: dict[str, Any]) -> None:
        policy = policy_of(text)
        self.mesh.live = LiveRevision(policy, resolve(policy), 1, {})

    async def ask(self, token: str, request: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        given = {
            "x-mw-authorization": f"Bearer {token}",
            "x-mw-verify": "NONE",
            "content-type": "application/json",
        }
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        scope = {"type": "http", "method": "POST", "path": CONTROL, "headers": raw}
        data, sent = json.dumps(request).encode(), list[dict[str, Any]]()
        self.sent = sent
        pieces = [data[: len(data) // 2], data[len(data) // 2 :]]

        async def receive() -> dict[str, Any]:
            assert pieces, "the body was read past its end: the request would hang"
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.api(scope, receive, send)
        assert not pieces, "a body that is not read to its end can take the answer along"
        return sent[0]["status"], json.loads(sent[1]["body"])


def _verb(name: str, do: Any) -> Verb[Fields, Reply]:
    return Verb(name, Fields, TypeAdapter(Reply), do, right="apply")


def noted(directory: Path) -> list[tuple[str, dict[str, str]]]:
    """By whom, and why, what was refused."""
    lines = told(directory / "changes.log")
    return [(line.author, {"code": line.facts["code"]}) for line in lines if line.outcome == "refused"]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A verb that is done when it is let."""
    let, under_way = threading.Event(), threading.Semaphore(0)

    def do(*_: Any) -> Reply:
        under_way.release()
        let.wait(60)
        return Reply()

    monkeypatch.setitem(asking.VERBS, "slow", _verb("slow", do))  # type: ignore[arg-type]
    return SimpleNamespace(let=let, under_way=under_way)


def test_no_more_than_so_many_are_answered_and_nobody_waits_in_the_loop(tmp_path: Path, slow: Any) -> None:
    async def play() -> None:
        world = World(tmp_path)
        olga = world.issuer.token("olga", ["operators"])
        assert (await world.ask(olga, {"do": "nothing"}))[0] == 400
        otto, oda = (world.issuer.token(name, ["operators"]) for name in ("otto", "oda"))
        first = [asyncio.create_task(world.ask(olga, {"do": "slow"})) for _ in range(MOST_OF_ONE)]
        for _ in first:
            await asyncio.to_thread(slow.under_way.acquire)
        status, told = await world.ask(olga, {"do": "slow"})
        assert (status, told["error_type"]) == (503, "too_many_changes")
        assert (await world.ask(otto, {"do": "nothing"}))[0] == 400  # another operator is not kept out
        first += [asyncio.create_task(world.ask(otto, {"do": "slow"})) for _ in range(MOST - MOST_OF_ONE)]
        for _ in range(MOST - MOST_OF_ONE):
            await asyncio.to_thread(slow.under_way.acquire)
        assert (await world.ask(oda, {"do": "slow"}))[0] == 503
        await asyncio.to_thread(eventually, lambda: ("test:oda", {"code": "MW3077"}) in noted(tmp_path))
        eve = world.issuer.token("eve", ["bosses"])
        assert (await world.ask(eve, {"do": "slow"}))[0] == 403  # said at once, whoever is busy
        assert not any(each.done() for each in first), "nobody waited for those who are busy"
        slow.let.set()
        assert [(await each)[0] for each in first] == [200] * MOST
        assert (await world.ask(olga, {"do": "slow"}))[0] == 200
        world.api.close()

    asyncio.run(play())


def test_who_is_refused_time_and_again_is_counted_and_waits_and_nobody_else_does(tmp_path: Path) -> None:
    """A few lines, whatever is asked how often: no write for each, and no thread."""

    async def play() -> None:
        now = [100.0]
        world = World(tmp_path, lambda: now[0])
        eve, olga = world.issuer.token("eve", ["bosses"]), world.issuer.token("olga", ["operators"])
        answers = Counter([(await world.ask(eve, {"do": "apply"}))[0] for _ in range(100)])
        assert answers == {403: REFUSED_MOST, 429: 100 - REFUSED_MOST}
        assert (b"retry-after", b"1") in world.sent[0]["headers"]
        assert (await world.ask(olga, {"do": "nothing"}))[0] == 400
        now[0] += 1
        world.mesh.changes.settle()
        lines = [line for line in told(tmp_path / "changes.log") if line.author == "test:eve"]
        assert [line.outcome for line in lines] == ["refused"] * (TOLD + 2)
        counts = {line.facts["code"]: int(line.facts["count"]) for line in lines[TOLD:]}
        assert counts == {"MW3072": REFUSED_MOST - TOLD, "MW3076": 100 - REFUSED_MOST}
        assert (await world.ask(eve, {"do": "apply"}))[0] == 403, "a new second"
        world.api.close()

    asyncio.run(play())


def test_an_operator_that_asks_for_nonsense_is_counted_too(tmp_path: Path) -> None:
    async def play() -> None:
        world = World(tmp_path, lambda: 100.0)
        olga = world.issuer.token("olga", ["operators"])
        assert [(await world.ask(olga, {"do": "x"}))[0] for _ in range(REFUSED_MOST + 1)][-2:] == [400, 429]
        assert len(told(tmp_path / "changes.log")) == TOLD
        world.mesh.changes.settle(all_of_it=True)
        assert (
            sum(int(line.facts.get("count", 1)) for line in told(tmp_path / "changes.log"))
            == REFUSED_MOST + 1
        )
        world.api.close()

    asyncio.run(play())


def test_the_right_is_asked_for_again_when_the_turn_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one waits for another change, that change takes away the right; or the caller is revoked."""

    async def play() -> None:
        world, done = World(tmp_path), list[int]()

        def do(*_: Any) -> Reply:
            meanwhile()
            world.mesh.changes.require_still()  # as `Mesh.turn` does
            done.append(1)
            return Reply()

        monkeypatch.setitem(asking.VERBS, "late", _verb("late", do))  # type: ignore[arg-type]
        olga = world.issuer.token("olga", ["operators"])
        without = {**world.text, "operators": {}}
        elsewhere = {**world.text["issuers"]["test"], "audience": ["models", "more"]}
        others = {**world.text, "issuers": {"test": elsewhere}}
        for text, status in ((without, 403), (others, 409)):
            world.stand(world.text)
            meanwhile = lambda text=text: world.stand(text)  # noqa: E731
            assert (await world.ask(olga, {"do": "late"}))[0] == status
        world.stand(world.text)
        meanwhile = lambda: setattr(world.mesh, "revoked", Revoked({"test:olga": None}))  # noqa: E731
        assert (await world.ask(olga, {"do": "late"}))[0] == 401
        assert done == []
        world.api.close()

    asyncio.run(play())


def test_tokens_are_verified_by_the_issuers_of_the_policy_that_runs(tmp_path: Path) -> None:
    async def play() -> None:
        world = World(tmp_path)
        olga = world.issuer.token("olga", ["operators"])
        assert (await world.ask(olga, {"do": "nothing"}))[0] == 400
        later = Issuer()
        later.write_jwks(tmp_path / "later.json")
        issuer = {**world.text["issuers"]["test"], "jwks": {"file": str(tmp_path / "later.json")}}
        world.stand({**world.text, "issuers": {"test": issuer}})
        assert (await world.ask(olga, {"do": "nothing"}))[0] == 401
        assert (await world.ask(later.token("olga", ["operators"]), {"do": "nothing"}))[0] == 400
        world.api.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x_mw_origin": "1"}, 403),
        ({"content_type": ""}, 415),
        ({"x_mw_verify": "SUCCESS"}, 403),
        ({"x_mw_verify": "FAILED"}, 403),
        ({"x_mw_authorization": "Basic eA=="}, 401),
    ],
)
def test_a_body_that_nobody_wants_is_still_read(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    async def play() -> None:
        world = World(tmp_path)
        olga = world.issuer.token("olga", ["operators"])
        assert (await world.ask(olga, {"do": "nothing"}, **headers))[0] == status
        world.api.close()

    asyncio.run(play())


def test_a_token_that_takes_long_holds_up_nothing_but_other_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verification that never ends: the loop goes on, so many more may wait, and who comes then is told so."""
    let, verify, at_work = threading.Event(), VerificationKey.verify, threading.Event()

    def slow(key: VerificationKey, message: bytes, signature: bytes) -> None:
        assert threading.current_thread() is not threading.main_thread(), "in the supervisor's loop"
        at_work.set()
        let.wait(60)
        verify(key, message, signature)

    async def play() -> None:
        world = World(tmp_path)
        olga = world.issuer.token("olga", ["operators"])
        assert (await world.ask(olga, {"do": "nothing"}))[0] == 400
        monkeypatch.setattr(VerificationKey, "verify", slow)
        asking = [asyncio.create_task(world.ask(olga, {"do": "nothing"})) for _ in range(MOST_UNPROVEN)]
        await asyncio.to_thread(at_work.wait, 60)
        one_more = asyncio.create_task(world.ask(olga, {"do": "nothing"}))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert one_more.done() and not any(each.done() for each in asking)
        let.set()
        status, told = await one_more
        assert (status, told["error_type"]) == (503, "too_many_changes")
        answers = Counter([(await each)[0] for each in asking])
        assert answers.total() == MOST_UNPROVEN and answers.keys() <= {
            400,
            429,
            503,
        }  # what one operator may ask
        otto = world.issuer.token("otto", ["operators"])
        assert (await world.ask(otto, {"do": "nothing"}))[0] == 400, "nothing is left of it"
        world.api.close()

    asyncio.run(play())


def test_keys_are_kept_and_a_start_without_the_issuer_begins_with_them(tmp_path: Path) -> None:
    """Whether or not an operator ever asks. Those of another issuer, altered or too old, are as good as none."""
    kept, seen = list[KeptKeys](), threading.Event()

    def keep(keys: KeptKeys) -> None:
        kept.append(keys)
        seen.set()

    async def begin() -> Issuer:
        world = World(tmp_path, keep=keep)
        await asyncio.to_thread(seen.wait, 60)
        world.api.close()
        return world.issuer

    issuer = asyncio.run(begin())
    good = kept[0].issuers["test"]

    async def status() -> int:
        world = World(tmp_path, issuer=issuer)
        found = (await world.ask(issuer.token("olga", ["operators"]), {"do": "nothing"}))[0]
        world.api.close()
        return found

    assert asyncio.run(status()) == 503, "nothing was kept"
    for each, expected in (
        (good, 400),
        (replace(good, issuer="https://another.test"), 503),
        (replace(good, place="url https://another.test"), 503),
        (replace(good, asked_at=Moment.now().before(86400 + 1)), 503),
        (replace(good, asked_at=replace(good.asked_at, boot="another", wall=2e10)), 503),
    ):
        KEPT.write(tmp_path, KeptKeys.of({"test": each}))
        assert asyncio.run(status()) == expected, each
    KEPT.write(tmp_path, kept[0])
    altered = (tmp_path / KEPT.name).read_bytes().replace(b'"ES256"', b'"ES257"')
    (tmp_path / KEPT.name).write_bytes(altered)
    assert asyncio.run(status()) == 503
