"""The state that a release left, put where it can be used: its files as they are, with keys made now.

`tests/state/<release>` holds no private key. What depends on a place, a port or a key is what is put in its stead.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.spiffe.ca_store import CaStore
from meshward.tokens.keys import make_key

ROOT = Path(__file__).parent
RELEASES = sorted(path.name for path in ROOT.iterdir() if path.name[0].isdigit())
DIRECTORY, PORT = "@DIRECTORY@", 48855
TRUST_DOMAIN = "models.test"


def put_kept(release: str, directory: Path, port: int) -> Path:
    """The state of `release`, as directory/s; its logins as directory/login."""
    state = directory / "s"
    for part in ("s", "login"):
        shutil.copytree(ROOT / release / part, directory / part)
    _replace(directory, {DIRECTORY: str(directory), str(PORT): str(port)})
    _replace(directory, _digests(state))
    _make_authority(state / "ca")
    _replace(directory, _make_keys(state / "keys"))
    (directory / "server.key").write_text("no-key\n")
    (directory / "server.key").chmod(0o600)
    (state / "lock").touch(0o600)
    return state


def _replace(directory: Path, pairs: dict[str, str]) -> None:
    for file in (
        *directory.glob("s/**/*.json"),
        *directory.glob("login/**/*.json"),
    ):  # not what others must read
        text = file.read_text()
        for old, new in pairs.items():
            text = text.replace(old, new)
        file.write_text(text)
        file.chmod(0o600)


def _digests(state: Path) -> dict[str, str]:
    """Of the policies, which name other places now."""
    records = (state / "revisions").glob("????.json")
    kept = {json.loads(file.read_text())["digest"]: file.with_suffix(".policy.json") for file in records}
    return {old: resolve(Policy.model_validate_json(file.read_bytes())).digest for old, file in kept.items()}


def _make_authority(directory: Path) -> None:
    """A root and two intermediates, under the names that the kept file has for them."""
    kept = (directory / "ca.json").read_text()
    (directory / "ca.json").unlink()
    store, now = CaStore(directory, TRUST_DOMAIN), datetime.now(UTC)
    store.open(now)
    store.reissue(now)
    (directory / "ca.json").write_text(kept)


def _make_keys(directory: Path) -> dict[str, str]:
    """Two signing keys; their ids, and that they sign since now, are put where those of the kept ones stand.

    Else an instance replaces them at once, a day after they were kept.
    """
    named = json.loads((directory / "txn.json").read_text())
    made = {str(named["since"]): str(int(datetime.now(UTC).timestamp()))}
    for kid in (named["current"], named["next"]):
        key = make_key()
        (directory / f"txn.{key.kid}.pem").write_bytes(key.pem())
        (directory / f"txn.{key.kid}.pem").chmod(0o600)
        made[kid] = key.kid
    return made
