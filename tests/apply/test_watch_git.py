"""`up --watch` in a git checkout: what is committed is applied, nothing that the checkout holds is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.follow import checkout as checkouts
from meshward.apply.follow.checkout import Checkout, checkout_of
from meshward.apply.follow.watch import Committed, Plain, watch_path
from meshward.apply.revisions import Revisions
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.testing.waiting import DEADLINE
from tests.apply.test_live_changes import statuses, with_grant
from tests.apply.test_watch_and_start import log_of, start
from tests.hostile.conftest import hostile_policy, write_hostile
from tests.stack.running import Stack, eventually, running

AUTHOR = ("-c", "user.name=Alice Author", "-c", "user.email=alice@example.com")


def git(place: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(place), *AUTHOR, *arguments], capture_output=True, text=True, timeout=60, check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"},
    )  # fmt: skip
    return done.stdout.strip()


def commit(place: Path, subject: str, *files: str) -> str:
    git(place, "add", "--", *(files or (".",)))
    git(place, "commit", "--quiet", "--allow-empty", "-m", subject)
    return git(place, "rev-parse", "HEAD")


def policy_text(**more: Any) -> str:
    sockets = {"m1/v1": Path("/run/a.sock"), "m2/v1": Path("/run/b.sock")}
    return json.dumps(hostile_policy(Path("/jwks.json"), 8443, sockets) | more)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """With git, as long as a busy machine takes."""
    monkeypatch.setattr(checkouts, "_TIMEOUT", DEADLINE)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout with a policy in a folder of its own, committed."""
    place = tmp_path / "repo"
    (place / "mesh").mkdir(parents=True)
    git(place, "init", "--quiet")
    (place / "mesh" / "policy.yaml").write_text(policy_text())
    commit(place, "the first")
    return place


def found(path: Path) -> Checkout:
    checkout = checkout_of(path)
    assert checkout is not None
    return checkout


def test_what_is_committed_is_read_and_what_is_edited_is_said(place: Path) -> None:
    path, said = place / "mesh" / "policy.yaml", list[str]()
    watched = watch_path(path, said.append)
    assert isinstance(watched, Committed)
    path.write_text("version: 1\nmodels: [")
    first = watched.read(said.append)
    assert first is not None and set(first.document.policy.models) == {"m1", "m2"}
    assert "not committed are not applied" in said[-1]
    assert watched.read(said.append) is None, "the same commit is nothing new"
    sight = watched.fingerprint()
    path.write_text(policy_text(denies=[{"id": "no", "roles": ["user"]}]))
    commit(place, "Close \x1b[31mit\n\nfor good")
    assert watched.fingerprint() != sight
    second = watched.read(said.append)
    assert second is not None and [deny.id for deny in second.document.policy.denies] == ["no"]
    commit_id = git(place, "rev-parse", "HEAD")
    assert second.reason == f"commit {commit_id[:8]} by Alice Author: Close ?[31mit"


def test_a_directory_is_read_as_a_directory_is(place: Path) -> None:
    policy = json.loads(policy_text())
    grants = {"grants": policy.pop("grants")}
    (place / "mesh" / "policy.yaml").write_text(json.dumps(policy))
    (place / "mesh" / "grants.yml").write_text(json.dumps(grants))
    (place / "mesh" / ".hidden.yaml").write_text("[")
    (place / "mesh" / "more").mkdir()
    (place / "mesh" / "more" / "x.yaml").write_text("[")
    (place / "mesh" / "README").write_text("[")
    head = commit(place, "in two files")
    checkout = found(place / "mesh")
    assert [source.name for source in checkout.sources(head)] == [
        f"mesh/{name}@{head[:8]}" for name in ("grants.yml", "policy.yaml")
    ]
    assert not checkout.differs(head)
    (place / "mesh" / "new.yaml").write_text("")
    assert checkout.differs(head), "a file that is not committed is an edit"


def test_without_a_commit_that_holds_it_a_file_is_a_file(tmp_path: Path, place: Path) -> None:
    said: list[str] = []
    lonely = tmp_path / "policy.yaml"
    lonely.write_text(policy_text())
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    git(fresh, "init", "--quiet")
    (fresh / "policy.yaml").write_text(policy_text())
    untracked = place / "mesh" / "other.yaml"
    untracked.write_text(policy_text())
    for path in (lonely, fresh / "policy.yaml", untracked):
        watched = watch_path(path, said.append)
        assert isinstance(watched, Plain) and "followed as a file" in said[-1], path


def test_without_git_a_file_is_a_file_and_it_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setitem(checkouts._ENVIRONMENT, "PATH", "/nowhere")
    assert isinstance(watch_path(place / "mesh" / "policy.yaml", said.append), Plain)
    assert "no git" in said[-1]


# --- attacks


def test_nothing_of_the_checkout_is_run(place: Path, tmp_path: Path) -> None:
    """Each of these is a command in a configuration that git would follow for one command or another."""
    ran = tmp_path / "ran"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\necho $0 $@ >> {ran}\n")
    trap.chmod(0o755)
    config = {
        "core.fsmonitor": trap, "core.pager": trap, "core.sshCommand": trap, "core.editor": trap,
        "core.alternateRefsCommand": trap, "core.hooksPath": tmp_path, "gpg.program": trap,
        "log.showSignature": "true", "diff.external": trap, "filter.x.clean": trap, "filter.x.smudge": trap,
        "filter.x.process": trap, "diff.x.textconv": trap, "diff.x.command": trap, "credential.helper": trap,
        "alias.cat-file": f"!{trap}", "alias.rev-parse": f"!{trap}", "alias.ls-tree": f"!{trap}",
        "pager.cat-file": trap, "pager.ls-tree": trap,
    }  # fmt: skip
    (place / ".gitattributes").write_text("* filter=x diff=x\n")
    head = git(place, "rev-parse", "HEAD")
    for key, value in config.items():
        git(place, "config", key, str(value))
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "fsmonitor-watchman"):
        (place / ".git" / "hooks" / hook).write_text(f"#!/bin/sh\necho {hook} >> {ran}\n")
        (place / ".git" / "hooks" / hook).chmod(0o755)
    (place / "mesh" / "policy.yaml").write_text("edited")
    watched = watch_path(place / "mesh" / "policy.yaml", lambda _: None)
    watched.fingerprint()
    read = watched.read(lambda _: None)
    assert read is not None and head[:8] in read.reason
    assert not ran.exists(), ran.read_text()


def test_a_partial_clone_fetches_nothing(place: Path, tmp_path: Path) -> None:
    """An object that is not there would be fetched by a command of the configuration: it is a refusal instead."""
    ran, trap = tmp_path / "ran", tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\necho $0 $@ >> {ran}\n")
    trap.chmod(0o755)
    head = git(place, "rev-parse", "HEAD")
    blob = git(place, "rev-parse", "HEAD:mesh/policy.yaml")
    checkout = found(place / "mesh" / "policy.yaml")
    for key, value in {
        "core.repositoryFormatVersion": "1", "extensions.partialClone": "origin", "remote.origin.url": f"ext::{trap}",
        "remote.origin.promisor": "true", "protocol.ext.allow": "always", "protocol.allow": "always",
        "remote.origin.uploadpack": str(trap), "core.sshCommand": str(trap),
    }.items():  # fmt: skip
        git(place, "config", key, value)
    (place / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    for url in (f"ext::{trap}", "ssh://host/x", str(tmp_path / "nowhere"), "file:///nowhere"):
        git(place, "config", "remote.origin.url", url)
        with pytest.raises(MeshwardError) as told:
            checkout.sources(head)
        assert told.value.exit_code is Exit.USAGE
        assert not ran.exists(), ran.read_text()


@pytest.mark.parametrize("target", ["/etc/passwd", "real.yaml", "policy.yaml"])
def test_a_symbolic_link_in_the_commit_is_refused(place: Path, target: str) -> None:
    path = place / "mesh" / "policy.yaml"
    (place / "mesh" / "real.yaml").write_text(policy_text())
    path.unlink()
    path.symlink_to(target)
    head = commit(place, "a link")
    with pytest.raises(MeshwardError, match="symbolic link"):
        found(path).sources(head)
    with pytest.raises(MeshwardError, match="symbolic link"):
        found(place / "mesh").sources(head)


def test_names_that_look_like_options_are_names(place: Path) -> None:
    folder = place / "--upload-pack=x"
    folder.mkdir()
    (folder / "-p").write_text(policy_text())
    head = commit(place, "odd names")
    (source,) = found(folder / "-p").sources(head)
    assert source.data == policy_text().encode()


def test_a_checkout_of_another_user_is_refused(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not run: only root can give a file to somebody else")
    for owned in (place / ".git", place):
        os.chown(owned, 61998, -1)
        with pytest.raises(MeshwardError) as told:
            checkout_of(place / "mesh" / "policy.yaml")
        assert told.value.code.number == "MW3055" and told.value.exit_code is Exit.UNSAFE
        os.chown(owned, 0, -1)


def test_sizes_are_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(place, "rev-parse", "HEAD")
    checkout = found(place / "mesh" / "policy.yaml")
    monkeypatch.setattr(checkouts, "MOST_BYTES", 100)
    with pytest.raises(MeshwardError, match="too large"):
        checkout.sources(head)
    monkeypatch.setattr(checkouts, "_MOST_COMMIT", 30)
    assert checkout.commit(head).author == "nobody", "what is cut off is not guessed"
    monkeypatch.setattr(checkouts, "_MOST_LISTED", 10)
    with pytest.raises(MeshwardError, match="more than 10 bytes"):
        checkout.sources(head)


# --- a whole instance


def running_reason(stack: Stack) -> str:
    """Why the revision that was accepted last came about. It is accepted after requests were first decided by it."""
    last = Revisions(stack.state).current()
    return last.reason if last is not None else ""


def test_a_commit_is_applied_with_its_reason_and_an_edit_is_not(short_dir: Path) -> None:
    with running(short_dir, write_hostile) as stack:
        text: dict[str, Any] = json.loads(stack.policy.read_text())
        repo = short_dir / "repo"
        repo.mkdir()
        git(repo, "init", "--quiet")
        policy = repo / "policy.yaml"
        policy.write_text(json.dumps(text))
        commit(repo, "as it runs")
        start(stack, str(policy), "--watch")
        assert stack.instance.revision == 1 and "as it is committed" in log_of(stack)
        bob = stack.issuer.token("bob", ["sales"])

        policy.write_text(json.dumps(with_grant(text, "sales", ["infer"])))
        eventually(lambda: "not committed are not applied" in log_of(stack), what="the sentence")
        assert statuses(stack, bob, "/m/m1/v1/public") == [403] and stack.instance.revision == 1

        head = commit(repo, "Let sales infer")
        eventually(lambda: statuses(stack, bob, "/m/m1/v1/public") == [200], what=f"it\n{log_of(stack)}")
        eventually(lambda: running_reason(stack) == f"commit {head[:8]} by Alice Author: Let sales infer")
        last = Revisions(stack.state).current()
        assert last is not None and last.author != "Alice Author", "who a commit says wrote it is a claim"

        policy.write_text("version: 1\nmodels: [")
        commit(repo, "broken")
        eventually(lambda: "is not applied; revision" in log_of(stack), what="the complaint")
        git(repo, "reset", "--quiet", "--hard", "HEAD~2")
        eventually(
            lambda: statuses(stack, bob, "/m/m1/v1/public") == [403], what="an older commit, checked out"
        )
        eventually(lambda: running_reason(stack).endswith("by Alice Author: as it runs"))
        done = subprocess.run(
            [sys.executable, "-m", "meshward", "history", "--json", "--state", str(stack.state)],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout)["revisions"][0]["reason"].endswith("by Alice Author: as it runs")
