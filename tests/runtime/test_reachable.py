"""Whether another user may run a part is tried as that user, and what hinders is named."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from meshward.runtime.place import reachable
from meshward.runtime.place.identities import ProcessIdentity, starter
from meshward.runtime.place.reachable import can_seal, first_closed, hindrance

OTHER = ProcessIdentity(61099, 61099)
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root may be somebody else")


@needs_root
def test_the_first_closed_directory_on_the_way_is_named_through_links(short_dir: Path) -> None:
    closed, seen = short_dir / "closed", short_dir / "seen"
    (closed / "in").mkdir(parents=True)
    (closed / "in" / "file").write_text("x")
    seen.symlink_to(closed / "in" / "file")
    assert first_closed(OTHER, seen) is None
    (closed / "in" / "file").chmod(0o600)
    assert first_closed(OTHER, seen) == closed / "in" / "file"
    closed.chmod(0o600)  # no more of it can be passed, although nobody is kept from reading nothing
    assert first_closed(OTHER, seen) == closed
    assert first_closed(starter(), seen) is None


@needs_root
@pytest.mark.skipif(PYTHON is None, reason="not run: there is no Python that other users reach")
def test_a_python_below_a_closed_directory_hinders_and_one_that_all_reach_does_not(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachable, "_libraries", lambda: [])
    home = short_dir / "home"
    home.mkdir()
    (home / "python").symlink_to(str(PYTHON))
    monkeypatch.setattr(sys, "executable", str(home / "python"))
    assert hindrance(OTHER, ["json", "ssl"]) == ""
    home.chmod(0o700)
    assert hindrance(OTHER, ["json"]) == f"other users may not pass `{home}` (mode 0700, of uid 0)"
    home.chmod(0o711)
    assert "does not import json, no_such_module" in hindrance(OTHER, ["json", "no_such_module"])
    program = home / "envoy"
    program.write_text("")
    program.chmod(0o700)
    assert f"`{program}`" in hindrance(OTHER, ["json"], [program])


def test_whether_a_server_can_be_sealed_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "NAMESPACES", ("env",))
    assert can_seal()
    monkeypatch.setattr(reachable, "NAMESPACES", ("false",))
    assert not can_seal()
    monkeypatch.setattr(reachable, "NAMESPACES", ("/nonexistent/unshare",))
    assert not can_seal()
