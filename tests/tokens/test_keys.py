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
from meshward.tokens.keys import POINTER, SigningKeys, load, load_or_create, make_key, save


def kids(keys: SigningKeys) -> list[str]:
    return [jwk["kid"] for jwk in keys.public_jwks()["keys"]]


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "keys")
    assert kids(load_or_create(tmp_path / "keys")) == kids(made) == [made.current.kid, made.next.kid]
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").iterdir()} == {0o600}
    assert (tmp_path / "keys" / f"txn.{made.current.kid}.pem").exists()


def test_a_copy_for_another_uid_is_its_groups_to_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o2700)
    groups = {os.getegid(), *os.getgroups()} if os.geteuid() else {61999}
    gid = max(groups)
    save(tmp_path / "keys", load_or_create(tmp_path / "state"), gid=gid)
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
    second = first.advanced()
    save(tmp_path, second)
    assert load(tmp_path).current.kid == first.next.kid
    assert kids(load(tmp_path)) == [first.next.kid, second.next.kid, first.current.kid]
    third = second.advanced()
    save(tmp_path, third)
    assert first.current.kid not in kids(load(tmp_path))
    assert not (tmp_path / f"txn.{first.current.kid}.pem").exists()


@pytest.mark.parametrize("harm", ["missing", "other key", "no pem", "pointer", "traversal", "public only"])
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
    elif harm == "traversal":
        (tmp_path / POINTER).write_text(json.dumps(pointer | {"current": "../x"}))
    else:
        file.write_bytes(ECKey.import_key(file.read_bytes()).as_pem(private=False))
    with pytest.raises(MeshwardError) as refusal:
        load_or_create(tmp_path)
    assert refusal.value.code == "MW2010" and refusal.value.remedy
