"""What the demo alone needs is needed by nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, sys
import meshward

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
for module in pkgutil.walk_packages(meshward.__path__, "meshward."):
    if not module.name.startswith(("meshward.demo.", "meshward.tour.", "meshward.clients.")):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def test_everything_but_the_demo_is_imported_without_what_the_demo_needs() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    absent = {
        requirement.partition(">")[0].lower() for requirement in wanted["optional-dependencies"]["demo"]
    }
    assert "starlette" in absent
    program = IMPORT_ALL.format(absent=sorted(absent))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
