"""What the demo's identity provider gets where it is another user than the one whose STATE it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshward.demo.accounts import load_accounts
from meshward.demo.handout import hand_out
from meshward.demo.keyring import KEYS, ROTATION_SECRET, KeyRing, rotation_secret
from meshward.kit.clock import system_clock
from meshward.runtime.place.directories import open_state
from meshward.runtime.place.identities import ProcessIdentity, can_execute_as, starter

FILES = ("accounts.json", "idp-keys.json", ROTATION_SECRET)


@pytest.fixture
def kept(short_dir: Path) -> Path:
    return open_state(short_dir / "s").path


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root has other users' parts")
def test_another_user_reads_what_it_was_given_and_writes_nothing(kept: Path, short_dir: Path) -> None:
    idp, other = ProcessIdentity(61099, 61099), ProcessIdentity(61098, 61098)
    hand_out(kept, short_dir / "idp", idp)
    for name in FILES:
        given = str(short_dir / "idp" / "demo" / name)
        assert can_execute_as(idp, ("/usr/bin/test", "-r", given)), given
        assert not can_execute_as(idp, ("/usr/bin/test", "-w", given)), given
        assert not can_execute_as(other, ("/usr/bin/test", "-r", given)), given
        assert not can_execute_as(idp, ("/usr/bin/test", "-r", str(kept / "demo" / name)))
    for folder in ("idp", "idp/demo"):
        assert not can_execute_as(idp, ("/usr/bin/test", "-w", str(short_dir / folder)))


def test_it_is_given_what_the_state_keeps_at_every_start(kept: Path, short_dir: Path) -> None:
    place = short_dir / "given"
    for _ in range(2):
        hand_out(kept, place, starter())
        assert load_accounts(place) == load_accounts(kept)
        assert KeyRing(place, system_clock).jwks() == KeyRing(kept, system_clock).jwks()
        assert rotation_secret(place).reveal() == rotation_secret(kept).reveal()


def test_keys_that_may_only_be_read_rotate_until_the_process_ends(
    kept: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_out(kept, short_dir / "read", starter())

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    ring = KeyRing(short_dir / "read", system_clock)
    before = ring.current
    with monkeypatch.context() as patch:
        patch.setattr(type(KEYS), "write", refused)
        assert ring.rotate() != before
    assert KeyRing(short_dir / "read", system_clock).current == before
