"""What the demo alone needs is needed by nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ABSENT = """
import importlib.machinery, sys

class Absent(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {absent} else super().find_spec(name, path, target)

sys.meta_path = [each if each is not importlib.machinery.PathFinder else Absent for each in sys.meta_path]
"""
IMPORT_ALL = (
    ABSENT
    + """
import importlib, pkgutil
import meshward

for module in pkgutil.walk_packages(meshward.__path__, "meshward."):
    if not module.name.startswith(("meshward.demo.", "meshward.tour.", "meshward.clients.")):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""
)


def test_everything_but_the_demo_is_imported_without_what_the_demo_needs() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    absent = {
        requirement.partition(">")[0].lower() for requirement in wanted["optional-dependencies"]["demo"]
    }
    assert "starlette" in absent
    program = IMPORT_ALL.format(absent=sorted(absent))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_demo_says_what_it_lacks(tmp_path: Path) -> None:
    program = ABSENT.format(absent=["numpy"]) + "from meshward.cli.main import main\nmain()"
    up = [sys.executable, "-c", program, "up", "--demo", "--state", str(tmp_path / "s")]
    done = subprocess.run(up, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MW0910" in done.stderr
    assert "numpy" in done.stderr
    assert "meshward[demo]" in done.stderr
    assert not (tmp_path / "s").exists()
