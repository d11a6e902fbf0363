"""What the demo's identity provider is given: copies that it may only read. STATE is closed to every other user."""

from __future__ import annotations

import os
from pathlib import Path

from meshward.demo.accounts import ACCOUNTS, demo_directory, load_or_create_accounts
from meshward.demo.keyring import KEYS, ROTATION_SECRET, KeyRing, rotation_secret
from meshward.kit.clock import system_clock
from meshward.kit.durable import write_atomic
from meshward.kit.foreign import take
from meshward.kit.statefile import read_plain
from meshward.runtime.place.identities import ProcessIdentity

_SHARED_DIRECTORY, _SHARED = 0o710, 0o640


def hand_out(state: Path, place: Path, identity: ProcessIdentity) -> None:
    """Copies of the accounts, keys and rotation secret of `state` in `place`, for `identity`; what lacks is made.

    Raises MeshwardError where one is damaged, OSError.
    """
    load_or_create_accounts(state)
    KeyRing(state, system_clock)
    rotation_secret(state)
    ours = identity.gid == os.getegid()
    for directory in (place, demo_directory(place)):
        take(directory, 0o700 if ours else _SHARED_DIRECTORY, identity.gid)
    for name in (ACCOUNTS.name, KEYS.name, ROTATION_SECRET):
        data = read_plain(demo_directory(state) / name)
        write_atomic(demo_directory(place) / name, data, 0o600 if ours else _SHARED, identity.gid)
