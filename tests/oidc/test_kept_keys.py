"""Keys that outlive a restart: whose they are, how old, and what becomes of a file that was altered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from meshward.callers.trust import source_of
from meshward.kit.boot import Moment
from meshward.kit.errors import MeshwardError
from meshward.kit.reasons import Reason
from meshward.kit.statefile import StateFile, StateFileDamaged
from meshward.oidc import keys as keys_module
from meshward.oidc.issuer import KeyPlace, TrustedIssuer
from meshward.oidc.jwk import VerificationKey, parse_key_set
from meshward.oidc.kept_keys import HANDED, KEPT, KeptKeys, KeptSet
from tests.oidc.signing import Signer, issuer
from tests.oidc.test_jwks_keys import FIRST, SECOND, Provider, found, scene

ISSUER = issuer(keys=KeyPlace(max_stale=3600))
NOW = Moment.now()


def keys_of(*jwks: dict[str, str]) -> dict[str, VerificationKey]:
    return parse_key_set(Provider.document(*jwks))


def kept_for(
    of: TrustedIssuer, at: Moment = NOW, keys: Mapping[str, VerificationKey] | None = None
) -> KeptKeys:
    return KeptKeys.of({of.name: KeptSet.of(of, keys or keys_of(FIRST), at)})


def test_every_kind_of_key_comes_back_as_it_was(tmp_path: Path) -> None:
    signers = [Signer(alg, kid=alg) for alg in ("ES256", "RS256", "PS256", "EdDSA")]
    before = keys_of(*(signer.jwk() for signer in signers))
    KEPT.write(tmp_path, kept_for(ISSUER, keys=before))
    kept = KEPT.read(tmp_path)
    assert kept is not None
    after = kept.issuers[ISSUER.name].keys_of(ISSUER)
    assert [key.public_jwk() for key in after.values()] == [key.public_jwk() for key in before.values()]
    assert {each.alg for each in after.values()} == {"ES256", "RS256", "PS256", "EdDSA"}
    private = {"d", "p", "q", "dp", "dq", "qi", "k"}
    assert not any(private & key.keys() for key in kept.issuers[ISSUER.name].keys)


@pytest.mark.parametrize(
    "other",
    [
        replace(ISSUER, url="https://another.test"),
        replace(ISSUER, name="another"),
        replace(ISSUER, keys=KeyPlace(url="https://keys.test")),
        replace(ISSUER, keys=KeyPlace(file="/keys.json")),
        replace(ISSUER, keys=KeyPlace(max_stale=59)),
    ],
)
def test_they_are_one_issuers_and_no_older_than_that_one_allows(other: TrustedIssuer) -> None:
    kept = kept_for(ISSUER, Moment.now().before(60))
    assert source_of(ISSUER, kept).known and source_of(ISSUER, kept).age is not None
    assert not source_of(other, kept).known and source_of(other, kept).age is None


@pytest.mark.parametrize(
    ("asked_at", "age"),
    [
        (NOW.before(100), 100),
        (
            replace(NOW.before(100), wall=NOW.wall + 9e6),
            100,
        ),  # set back since: within one boot nobody asks the wall
        (replace(NOW.before(100), wall=0.0), 100),
        (replace(NOW.before(100), boot="another", uptime=9e9), 100),
        (replace(NOW.before(-1), boot="another"), None),  # set back since, and booted
        (replace(NOW, uptime=NOW.uptime + 1), None),
        (replace(NOW.before(100), boot=""), 100),
    ],
)
def test_how_old_they_are_by_which_clock(asked_at: Moment, age: float | None) -> None:
    passed = asked_at.seconds_until(NOW)
    assert passed == (None if age is None else pytest.approx(age))


def test_two_boots_without_a_name_are_not_one() -> None:
    asked, now = replace(NOW, boot="", uptime=NOW.uptime - 5), replace(NOW, boot="", wall=NOW.wall + 7)
    assert asked.seconds_until(now) == pytest.approx(7)


def test_what_is_of_the_future_is_not_used() -> None:
    ahead = replace(Moment.now(), boot="another", wall=Moment.now().wall + 3600)
    assert not source_of(ISSUER, kept_for(ISSUER, ahead)).known


@pytest.mark.parametrize("file", [KEPT, HANDED])
def test_whatever_is_altered_in_the_file_makes_it_nobodys(file: StateFile[KeptKeys], tmp_path: Path) -> None:
    file.write(tmp_path, kept_for(ISSUER))
    path = tmp_path / KEPT.name
    text = path.read_bytes()
    document = json.loads(text)
    for at in range(0, len(text), 7):
        path.write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])
        try:
            assert file.read(tmp_path) == kept_for(ISSUER), "only white space may differ"
        except MeshwardError as error:
            assert error.remedy
    path.write_bytes(text[:-1])
    with pytest.raises(StateFileDamaged):
        file.read(tmp_path)
    younger = json.loads(text)
    younger["issuers"][ISSUER.name]["asked_at"]["wall"] += 1000
    more = json.loads(text)
    more["issuers"]["mine"] = document["issuers"][ISSUER.name]
    for altered in (younger, more, {**document, "digest": "0" * 64}):
        path.write_text(json.dumps(altered))
        with pytest.raises(StateFileDamaged):
            file.read(tmp_path)


def test_a_file_of_state_that_others_could_write_is_not_read(tmp_path: Path) -> None:
    KEPT.write(tmp_path, kept_for(ISSUER))
    (tmp_path / KEPT.name).chmod(0o620)
    with pytest.raises(StateFileDamaged, match="others"):
        KEPT.read(tmp_path)


def test_an_issuer_that_is_down_is_no_reason_to_refuse_whom_it_vouched_for() -> None:
    async def play(idp: Provider) -> None:
        idp.down = True
        idp.keys.resume(keys_of(FIRST), 100)
        assert found(await idp.find("first"), "first") and idp.asked == 0
        assert await idp.find("second") == "MW2005"
        idp.now += 3500
        assert found(await idp.find("first"), "first"), "it was asked, in vain"
        idp.now += 1
        assert await idp.find("first") == "MW2005", "`max_stale` counts from when they were had"

    scene(play)


def test_old_ones_serve_only_where_the_issuer_was_asked_in_vain() -> None:
    """What it withdrew while we were down is not accepted where it can be asked."""

    async def play(idp: Provider) -> None:
        idp.body = idp.document(SECOND)
        idp.keys.resume(keys_of(FIRST), keys_module.LATE + 1)
        assert await idp.find("first") == Reason.KEY_UNKNOWN
        assert found(await idp.find("second"), "second") and idp.asked == 1

    async def play_down(idp: Provider) -> None:
        idp.down = True
        idp.keys.resume(keys_of(FIRST), keys_module.LATE + 1)
        assert found(await idp.find("first"), "first") and idp.asked == 1

    scene(play)
    scene(play_down)


def test_a_running_fetch_replaces_them() -> None:
    async def play(idp: Provider) -> None:
        idp.keys.resume(keys_of(FIRST), 10)
        idp.body = idp.document(SECOND)
        fresh = asyncio.create_task(idp.keys.keep_fresh())
        while idp.keys.fetched == 0:
            await asyncio.sleep(0)
        fresh.cancel()
        assert found(await idp.find("second"), "second") and set(idp.keys.known) == {"second"}

    scene(play)
