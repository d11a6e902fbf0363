"""Signing keys: made once, found again, rotated without a guard that does not know the next one."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from meshward.kit.errors import MeshwardError
from meshward.oidc.jwk import parse_key
from meshward.tokens.key_store import POINTER, load, load_current, load_or_create, save, save_current
from meshward.tokens.keys import RETIRED_FOR, SigningKeys, make_key
from tests.stack.oddities import KINDS, put_in_place_of

NOW = 1_790_000_000


def kids(keys: SigningKeys) -> list[str]:
    return [jwk["kid"] for jwk in keys.public_jwks()["keys"]]


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "keys")
    assert kids(load_or_create(tmp_path / "keys")) == kids(made) == [made.current.kid, made.next.kid]
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").iterdir()} == {0o600}
    assert (tmp_path / "keys" / f"txn.{made.current.kid}.pem").exists()


def test_who_signs_is_given_one_key_for_its_group_to_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o2700)
    groups = {os.getegid(), *os.getgroups()} if os.geteuid() else {61999}
    gid = max(groups)
    keys = load_or_create(tmp_path / "state")
    save_current(tmp_path / "keys", keys.current, gid)
    assert load_current(tmp_path / "keys").kid == keys.current.kid
    files = {path.name for path in (tmp_path / "keys").iterdir()}
    assert files == {POINTER, f"txn.{keys.current.kid}.pem"}
    save_current(tmp_path / "keys", keys.next, gid)
    assert load_current(tmp_path / "keys").kid == keys.next.kid
    assert not (tmp_path / "keys" / f"txn.{keys.current.kid}.pem").exists()
    assert {path.stat().st_gid for path in (tmp_path / "keys", *(tmp_path / "keys").iterdir())} == {gid}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o750
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").iterdir()} == {0o640}


def test_public_keys_hold_no_secret_and_say_their_algorithm() -> None:
    keys = SigningKeys(make_key(), make_key())
    for jwk in keys.public_jwks()["keys"]:
        assert set(jwk) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
        assert parse_key(jwk).alg == "ES256"
    signature = keys.current.sign(b"message")
    parse_key(keys.current.public_jwk()).verify(b"message", signature)


def test_a_key_does_not_print_itself() -> None:
    keys = SigningKeys(make_key(), make_key())
    secret = str(ECKey.import_key(keys.current.pem()).as_dict(private=True)["d"])
    assert secret not in repr(keys) and "ECKey" not in repr(keys)


def test_rotation_announces_before_it_uses_and_keeps_what_it_used(tmp_path: Path) -> None:
    first = load_or_create(tmp_path)
    second = first.advanced(NOW)
    save(tmp_path, second)
    assert load(tmp_path) == second and load(tmp_path).since == NOW
    assert second.current.kid == first.next.kid
    assert kids(second) == [first.next.kid, second.next.kid, first.current.kid]
    assert not (tmp_path / f"txn.{first.current.kid}.pem").exists(), (
        "a key that signs no more is still a secret"
    )


def test_a_key_is_accepted_until_its_last_token_has_ended_however_often_keys_rotate() -> None:
    keys = SigningKeys(make_key(), make_key())
    signed = []
    for second in range(20):
        signed.append(keys.current.kid)
        keys = keys.advanced(NOW + second)
        assert set(signed) <= set(kids(keys)), second
    later = keys.advanced(NOW + RETIRED_FOR)
    assert signed[0] not in kids(later) and set(signed[1:]) <= set(kids(later))
    assert kids(later.pruned(NOW + 2 * RETIRED_FOR + 20)) == [later.current.kid, later.next.kid]


def test_a_clock_that_is_set_back_drops_no_key_early_and_keeps_none_for_ever() -> None:
    keys = SigningKeys(make_key(), make_key()).advanced(NOW)
    back = NOW - 86400
    kept = keys.pruned(back)
    assert kids(kept) == kids(keys)
    assert len(kids(kept.pruned(back + RETIRED_FOR))) == 2


def test_the_file_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    keys, before = load_or_create(tmp_path), make_key()
    (tmp_path / f"txn.{before.kid}.pem").write_bytes(before.pem())
    named = {"current": keys.current.kid, "next": keys.next.kid, "previous": before.kid}
    (tmp_path / POINTER).write_text(json.dumps(named))
    assert kids(load(tmp_path)) == [keys.current.kid, keys.next.kid, before.kid]
    written = (tmp_path / POINTER).stat().st_mtime
    assert load(tmp_path).previous[0].at == load(tmp_path).since == written
    (tmp_path / POINTER).write_text(json.dumps({**named, "previous": None}))
    assert load(tmp_path).previous == ()


@pytest.mark.parametrize(
    "harm", ["missing", "other key", "no pem", "pointer", "no pointer", "older", "traversal", "public only"]
)
def test_damage_is_named(tmp_path: Path, harm: str) -> None:
    keys = load_or_create(tmp_path)
    file = tmp_path / f"txn.{keys.current.kid}.pem"
    pointer = json.loads((tmp_path / POINTER).read_text())
    if harm == "missing":
        file.unlink()
    elif harm == "other key":
        file.write_bytes(make_key().pem())
    elif harm == "no pem":
        file.write_text("x")
    elif harm == "pointer":
        (tmp_path / POINTER).write_text("[]")
    elif harm == "no pointer":
        (tmp_path / POINTER).unlink()
    elif harm == "older":
        for _ in range(2):
            save(tmp_path, load(tmp_path).advanced(1.0))
        (tmp_path / POINTER).write_text(json.dumps(pointer))
    elif harm == "traversal":
        (tmp_path / POINTER).write_text(json.dumps(pointer | {"current": "../x"}))
    else:
        file.write_bytes(ECKey.import_key(file.read_bytes()).as_pem(private=False))
    with pytest.raises(MeshwardError) as refusal:
        load_or_create(tmp_path)
    assert refusal.value.code.number == "MW2010" and refusal.value.remedy
    with pytest.raises(MeshwardError):
        load_or_create(tmp_path)  # nothing was made meanwhile


@pytest.mark.parametrize("kind", KINDS)
def test_of_signing_keys_plain_files_alone_are_read(tmp_path: Path, kind: str) -> None:
    put_in_place_of(tmp_path / f"txn.{load_or_create(tmp_path).next.kid}.pem", kind)
    with pytest.raises(MeshwardError) as refusal:
        load_or_create(tmp_path)
    assert refusal.value.code.number == "MW2010"
