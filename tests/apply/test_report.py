"""What is said of a server's reach follows what is there, while the instance runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply import report
from meshward.apply.report import save_instance_anew
from meshward.runtime.place.instance_file import INSTANCE, Guarded, Instance

SOCKET = Guarded("m", "v1", "00", "m", "/g", "unix:/m", "socket", openers="root, uid 5 and group 6")


def test_a_socket_that_was_opened_since_is_said_to_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, instance = SOCKET, Instance("https://e", "/r", "/run", "t", 1, (SOCKET,), None)
    machine: Any = SimpleNamespace(state=SimpleNamespace(path=tmp_path), describe_guard=lambda *_: there)
    live: Any = SimpleNamespace(plan=None, slots={"m/v1": 0})
    written = list[Guarded]()

    def save(*_: object) -> None:
        written.append(there)
        replace(instance, guards=(there,)).save(tmp_path)

    monkeypatch.setattr(report, "save_instance", save)
    instance.save(tmp_path)
    save_instance_anew(machine, live)
    assert not written, "nothing changed"
    there = replace(SOCKET, reach="open", openers="")
    save_instance_anew(machine, live)
    save_instance_anew(machine, live)
    assert written == [there]
    (tmp_path / INSTANCE.name).write_text("{")
    save_instance_anew(machine, live)
    assert written == [there, there], "a damaged file is written anew"
