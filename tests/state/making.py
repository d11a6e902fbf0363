"""Makes what `tests/state/<release>` keeps: the state that the running code leaves, without any private key.

usage: python -m tests.state.making tests/state/RELEASE     as root; once, before a release whose formats differ
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from meshward.apply.keys.inventory import save_failure
from meshward.apply.traffic.ejected import save_ejected
from meshward.demo.accounts import ACCOUNTS, GROUPS, KeptAccounts, demo_directory
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.secret import Secret
from meshward.login.store import LoginStore, SavedLogin
from tests.stack import policies
from tests.stack.command import meshward
from tests.stack.running import Stack, eventually, running
from tests.state.kept import DIRECTORY, PORT

LOGIN = SavedLogin(
    name="https://edge.test", root=None, issuer="https://sso.test", client="cli", token_endpoint="https://sso.test/t",
    revocation_endpoint=None, kind="access", expires_at=2_000_000_000, token=Secret("no-token"), refresh=None,
)  # fmt: skip


def write_policy(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    """A model of two versions, one of them with a key, and a workload."""
    sockets = {f"m/{version}": directory / f"{version}.sock" for version in ("v1", "v2")}
    versions: dict[str, Any] = {
        key.split("/")[1]: {"server": "own", "url": f"unix:{path}"} for key, path in sockets.items()
    }
    versions["v2"]["credential"] = "from-file"
    write_atomic(directory / "server.key", "no-key\n")
    policy = policies.base(jwks, port) | {
        "servers": {"own": {"infer": ["POST /v1/embed"], "health": "GET /health"}},
        "models": {"m": {"versions": versions, "traffic": {"v1": 100, "v2": 0}}},
        "credentials": {"from-file": {"from": "file", "path": str(directory / "server.key")}},
        "roles": {"user": [{"issuer": "test", "group": "users"}], "batch": [{"workload": "scorer"}]},
        "workloads": {"scorer": {"id": "/ns/jobs/sa/scorer"}},
        "grants": [{"id": "use", "roles": ["user", "batch"], "models": "all", "actions": ["infer"]}],
    }
    policies.write(directory, policy)
    return sockets


def make(to: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="mw", dir="/tmp"))
    directory.chmod(0o755)
    with running(directory, write_policy) as stack:
        _live(stack, directory)
    save_ejected(stack.state, {"m/v2": "its health check fails"})
    save_failure(stack.state, "svids", "a guard did not take it")
    ACCOUNTS.write(
        private_directory(demo_directory(stack.state)), KeptAccounts(dict.fromkeys(GROUPS, "no-password"))
    )
    LoginStore(directory / "login").save(LOGIN)
    _keep(stack, directory, to)


def _live(stack: Stack, directory: Path) -> None:
    """One of everything that is remembered."""
    at = ("--state", str(stack.state))
    for done in (
        meshward("traffic", "m", "v1=90", "v2=10", "--reason", "weights", *at),
        meshward("revoke", "--subject", "test:olga", "--unknown", *at),
        meshward("rotate", "ca", *at),
        meshward("rotate", "signing-key", *at),
        meshward("svid", "scorer", "--out", str(directory / "svid"), *at),
    ):
        assert done.returncode == 0, done
    walk = ("traffic", "m", "v2", "--step", "50,100", "--every", "10h", "--back-if-errors", "1%")
    with subprocess.Popen([sys.executable, "-m", "meshward", *walk, *at]) as looking_on:
        eventually(lambda: (stack.state / "revisions" / "0003.json").exists(), what="the walk's first step")
        looking_on.send_signal(signal.SIGINT)  # the walk goes on


def _keep(stack: Stack, directory: Path, to: Path) -> None:
    for file in [*stack.state.rglob("*.json"), *(directory / "login").glob("*.json")]:
        target = to / file.relative_to(directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(
            file.read_text().replace(str(directory), DIRECTORY).replace(str(stack.port), str(PORT))
        )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
