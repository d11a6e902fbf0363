"""Rotation, outage and storms, with a clock and an issuer that the test owns."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.reasons import Reason
from meshward.oidc import keys as keys_module
from meshward.oidc.issuer import KeyPlace, TrustedIssuer
from meshward.oidc.jwk import VerificationKey
from meshward.oidc.keys import IssuerKeys, key_document
from meshward.oidc.refusal import KeysUnavailable, TokenRefused
from tests.oidc.signing import Signer, issuer

FIRST, SECOND = Signer(kid="first").jwk(), Signer(kid="second").jwk()


class Provider:
    """An identity provider: what it serves, how often it was asked, and whether it is down."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.body = self.document(FIRST)
        self.down = False
        self.fault: Exception = OSError("down")
        self.gate: asyncio.Event | None = None
        self.reports: list[MeshwardError] = []
        self.keys = IssuerKeys(
            issuer(keys=KeyPlace(max_stale=3600)),
            self.fetch,
            lambda _, error: self.reports.append(error),
            monotonic=lambda: self.now,
        )

    @staticmethod
    def document(*jwks: dict[str, Any]) -> bytes:
        return json.dumps({"keys": jwks}).encode()

    async def fetch(self, _: TrustedIssuer) -> bytes:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise self.fault
        return self.body

    async def find(self, kid: str) -> VerificationKey | str:
        try:
            return await self.keys.find(kid)
        except TokenRefused as refusal:
            return refusal.reason
        except KeysUnavailable as error:
            return error.code.number


def scene(play: Callable[[Provider], Awaitable[None]]) -> None:
    async def run() -> None:
        await play(Provider())

    asyncio.run(run())


def found(key: object, kid: str) -> bool:
    return isinstance(key, VerificationKey) and key.kid == kid


def test_the_first_request_fetches_and_the_next_does_not() -> None:
    async def play(idp: Provider) -> None:
        assert found(await idp.find("first"), "first")
        assert found(await idp.find("first"), "first")
        assert idp.asked == 1

    scene(play)


def test_made_up_kids_cause_few_fetches_and_nobody_is_called_wrong_unasked() -> None:
    """A thousand names in ten seconds: as many fetches as are allowed; who was not asked for may try again."""

    async def play(idp: Provider) -> None:
        await idp.find("first")
        began, answers = idp.now, Counter[object]()
        for number in range(1000):
            idp.now += 0.01
            before = idp.asked
            answer = await idp.find(f"random{number}")
            assert answer == (Reason.KEY_UNKNOWN if idp.asked > before else "MW2005"), number
            answers[answer] += 1
        assert idp.asked - 1 <= keys_module.ASK_AT_ONCE + (idp.now - began) // keys_module.ASK_EVERY
        assert answers[Reason.KEY_UNKNOWN] == idp.asked - 1
        assert found(await idp.find("first"), "first")

    scene(play)


@pytest.mark.parametrize("pace", [0.01, 0.25, 1.0, 4.9, 5.1, 9.9, 10.0])
def test_a_new_key_is_found_within_seconds_under_any_flood_and_never_called_unpublished(pace: float) -> None:
    """From one name in ten seconds to a hundred in one: each time another one, or always the same."""

    for made_up in (lambda number: f"random{number}", lambda _: "random"):

        async def play(idp: Provider, made_up: Callable[[int], str] = made_up) -> None:
            await idp.find("first")
            for number in range(300):
                idp.now += pace
                assert await idp.find(made_up(number)) in (Reason.KEY_UNKNOWN, "MW2005")
            idp.body, published = idp.document(FIRST, SECOND), idp.now
            number = 1000
            while not found(answer := await idp.find("second"), "second"):
                assert answer == "MW2005" and idp.now - published <= keys_module.ASK_EVERY
                number += 1
                idp.now += min(pace, 0.5)
                await idp.find(made_up(number))

        scene(play)


def test_one_made_up_kid_every_ten_seconds_delays_nobody() -> None:
    async def play(idp: Provider) -> None:
        await idp.find("first")
        for number in range(20):
            idp.now += 10
            await idp.find(f"random{number}")
            idp.body = idp.document(FIRST, Signer(kid=f"new{number}").jwk())
            assert found(await idp.find(f"new{number}"), f"new{number}")

    scene(play)


def test_a_kid_that_is_not_there_is_not_asked_for_again_at_once_and_uses_up_nothing() -> None:
    async def play(idp: Provider) -> None:
        await idp.find("first")
        assert await idp.find("withdrawn") == Reason.KEY_UNKNOWN
        before = idp.asked
        for _ in range(100):
            assert await idp.find("withdrawn") == Reason.KEY_UNKNOWN
        assert idp.asked == before
        idp.body = idp.document(FIRST, SECOND)
        assert found(await idp.find("second"), "second")

    scene(play)


def test_a_kid_that_was_asked_for_too_early_is_found_when_its_time_has_come() -> None:
    """Somebody guessed the name of the next key, and asks for it all the time."""

    async def play(idp: Provider) -> None:
        await idp.find("first")
        for _ in range(50):
            idp.now += 0.5
            await idp.find("second")
        idp.body, published = idp.document(FIRST, SECOND), idp.now
        while not found(await idp.find("second"), "second"):
            idp.now += 0.5
            assert idp.now - published <= keys_module.ASK_EVERY

    scene(play)


def test_what_is_remembered_and_who_waits_is_bounded() -> None:
    async def play(idp: Provider) -> None:
        await idp.find("first")
        for number in range(50):
            idp.now += 5
            await asyncio.gather(*(idp.find(f"random{number}.{each}") for each in range(100)))
        assert len(idp.keys._absent) == keys_module.REMEMBERED
        idp.now += 5
        idp.gate = asyncio.Event()
        crowd = [asyncio.create_task(idp.find(f"more{number}")) for number in range(1000)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done = [task for task in crowd if task.done()]
        assert {task.result() for task in done} == {"MW2005"}
        assert len(done) == 1000 - keys_module.MOST_WAITING
        idp.gate.set()
        await asyncio.gather(*crowd)
        assert found(await idp.find("first"), "first")

    scene(play)


def test_another_key_under_the_same_kid_is_taken_with_the_next_refresh() -> None:
    async def play(idp: Provider) -> None:
        before = await idp.find("first")
        idp.body = idp.document(Signer(kid="first").jwk(), FIRST)
        assert (await idp.find("first")) is before, "what is known causes no fetch"
        await idp.keys._fetch()
        assert (await idp.find("first")) is before, "two of one name are none, and none replaces no good one"
        other = Signer(kid="first")
        idp.body = idp.document(other.jwk())
        await idp.keys._fetch()
        after = await idp.find("first")
        assert isinstance(after, VerificationKey) and after is not before

    scene(play)


def test_a_set_of_thousands_is_refused_whole_and_the_good_keys_stay() -> None:
    async def play(idp: Provider) -> None:
        await idp.find("first")
        idp.body = idp.document(*({**SECOND, "kid": f"k{number}"} for number in range(3000)))
        assert await idp.find("k7") == "MW2005"
        assert "more than" in idp.reports[-1].message
        assert found(await idp.find("first"), "first")

    scene(play)


def test_all_who_wait_share_one_fetch() -> None:
    async def play(idp: Provider) -> None:
        idp.gate = asyncio.Event()
        waiting = [asyncio.create_task(idp.find("first")) for _ in range(50)]
        await asyncio.sleep(0)
        idp.gate.set()
        assert all([found(await task, "first") for task in waiting])
        assert idp.asked == 1

    scene(play)


def test_a_slow_issuer_does_not_hold_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(idp: Provider) -> None:
        idp.gate = asyncio.Event()
        assert await idp.find("first") == "MW2005"
        idp.gate.set()
        while idp.keys.age is None:
            await asyncio.sleep(0)
        assert found(await idp.find("first"), "first")

    monkeypatch.setattr(keys_module, "PATIENCE", 0.01)
    scene(play)


def test_known_keys_outlive_an_outage_until_max_stale() -> None:
    async def play(idp: Provider) -> None:
        await idp.find("first")
        idp.down = True
        idp.now += 3600
        assert await idp.find("other") == "MW2005", "nobody can know"
        assert found(await idp.find("first"), "first")
        idp.now += 1
        assert await idp.find("first") == "MW2005"
        idp.down = False
        idp.now += 10
        assert found(await idp.find("first"), "first")

    scene(play)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"keys":[]}', Provider.document({"kty": "oct", "k": "AA", "kid": "first"})]
)
def test_a_document_without_usable_keys_never_replaces_a_good_one(body: bytes) -> None:
    async def play(idp: Provider) -> None:
        await idp.find("first")
        idp.body = body
        idp.now += 11
        assert await idp.find("other") == "MW2005"
        assert idp.asked == 2 and len(idp.reports) == 1
        assert found(await idp.find("first"), "first")

    scene(play)


def test_no_keys_at_all_is_our_fault_not_the_callers() -> None:
    async def play(idp: Provider) -> None:
        idp.down = True
        assert await idp.find("first") == "MW2005"
        assert await idp.find("first") == "MW2005"
        assert idp.asked == 1

    scene(play)


def test_keep_fresh_notices_a_withdrawn_key_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(idp: Provider) -> None:
        pauses: list[float] = []
        steps = [
            lambda: setattr(idp, "down", False),  # after the first try, which fails
            lambda: setattr(idp, "body", idp.document(SECOND)),
            lambda: setattr(idp, "down", True),
            lambda: None,
        ]

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            idp.now += seconds
            if len(pauses) > len(steps):
                raise asyncio.CancelledError
            steps[len(pauses) - 1]()

        monkeypatch.setattr("meshward.oidc.keys.asyncio.sleep", sleep)
        idp.down = True
        with pytest.raises(asyncio.CancelledError):
            await idp.keys.keep_fresh()
        assert pauses == [keys_module.EAGER, keys_module.REFRESH, keys_module.REFRESH] + 2 * [
            keys_module.MIN_INTERVAL
        ]
        assert found(await idp.find("second"), "second")
        assert await idp.find("first") == "MW2005", "the issuer is down: it may have come back"
        idp.down, idp.now = False, idp.now + keys_module.ASK_EVERY
        assert await idp.find("first") == Reason.KEY_UNKNOWN

    scene(play)


def test_not_even_a_bug_in_fetching_ends_the_fetching() -> None:
    async def play(idp: Provider) -> None:
        idp.down, idp.fault = True, AttributeError("a bug")
        fresh = asyncio.create_task(idp.keys.keep_fresh())
        while not idp.reports:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not fresh.done()
        fresh.cancel()

    scene(play)


def test_keys_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    document = key_document(None)  # type: ignore[arg-type]  # no connection is made
    place = issuer(keys=KeyPlace(file=str(file)))
    file.write_bytes(Provider.document(FIRST))
    assert asyncio.run(document(place)) == Provider.document(FIRST)
    file.write_bytes(b" " * 1_000_001)
    with pytest.raises(MeshwardError):
        asyncio.run(document(place))
    file.unlink()
    with pytest.raises(OSError):
        asyncio.run(document(place))


def test_a_key_that_comes_back_is_accepted_again() -> None:
    async def play(idp: Provider) -> None:
        assert found(await idp.find("first"), "first")
        idp.body, idp.now = idp.document(SECOND), idp.now + 10
        assert found(await idp.find("second"), "second") and await idp.find("first") == Reason.KEY_UNKNOWN
        idp.body, idp.now = idp.document(FIRST, SECOND), idp.now + 10
        assert found(await idp.find("first"), "first") and found(await idp.find("second"), "second")

    scene(play)


def test_a_flood_of_unknown_kids_at_once_causes_one_fetch() -> None:
    async def play(idp: Provider) -> None:
        await idp.find("first")
        for _ in range(3):
            idp.now += 10
            before = idp.asked
            answers = await asyncio.gather(*(idp.find(f"random{number}") for number in range(500)))
            assert set(answers) == {Reason.KEY_UNKNOWN} and idp.asked == before + 1
            assert found(await idp.find("first"), "first")

    scene(play)


def test_each_issuer_has_its_own_fetches() -> None:
    """A flood at one does not keep another's new key out."""

    async def play(idp: Provider) -> None:
        other = Provider()
        for each in (idp, other):
            await each.find("first")
            each.now += 10
        for number in range(100):
            await idp.find(f"random{number}")
        other.body = other.document(FIRST, SECOND)
        assert found(await other.find("second"), "second")

    scene(play)


def test_a_rotation_right_after_a_scheduled_fetch_refuses_nobody() -> None:
    """Tokens by the old key and by the new one, from the moment at which the issuer signs by the new one."""

    async def play(idp: Provider) -> None:
        fresh = asyncio.create_task(idp.keys.keep_fresh())
        while idp.keys.age is None:
            await asyncio.sleep(0)
        idp.now += 0.001
        idp.body = idp.document(FIRST, SECOND)
        for kid in ("first", "second", "first", "second"):
            assert found(await idp.find(kid), kid)
        assert idp.asked == 2
        fresh.cancel()

    scene(play)


def test_a_rotation_is_seen_at_once_and_old_tokens_never_wait() -> None:
    async def play(idp: Provider) -> None:
        await idp.find("first")
        rotated = idp.now
        idp.body = idp.document(FIRST, SECOND)
        while not found(await idp.find("second"), "second"):
            assert await idp.find("random") == Reason.KEY_UNKNOWN
            assert found(await idp.find("first"), "first")
            idp.now += 0.25
        assert idp.now == rotated
        assert idp.asked == 2

    scene(play)


def test_while_a_slow_fetch_runs_an_unknown_kid_is_not_called_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be in what is on its way: the caller is told to try again, not to sign in again."""

    async def play(idp: Provider) -> None:
        await idp.find("first")
        idp.now += 10
        idp.gate, idp.body = asyncio.Event(), idp.document(FIRST, SECOND)
        assert await idp.find("second") == "MW2005"
        assert found(await idp.find("first"), "first")
        idp.gate.set()
        while not found(await idp.find("second"), "second"):
            await asyncio.sleep(0)

    monkeypatch.setattr(keys_module, "PATIENCE", 0.01)
    scene(play)
