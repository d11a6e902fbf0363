"""What the demo alone needs, or what asks clusters, is needed by nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import setuptools

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


def needed_by(extra: str, one: str) -> set[str]:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    names = {requirement.partition(">")[0].lower() for requirement in wanted}
    assert one in names
    return names


def needed_by_the_demo() -> set[str]:
    return needed_by("demo", "starlette")


def test_everything_but_the_demo_is_imported_without_what_extras_need() -> None:
    absent = needed_by_the_demo() | needed_by("kubernetes", "kubernetes")
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


def test_who_asks_a_cluster_is_told_what_that_lacks() -> None:
    ask = "from meshward.cluster.read import read_objects\nread_objects(None)"
    program = ABSENT.format(absent=["kubernetes"]) + ask
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the Kubernetes client for Python is not installed here" in done.stderr


def test_what_users_test_with_needs_neither_our_tests_nor_pytest(tmp_path: Path) -> None:
    """In an environment of its own: `-I` leaves out the working directory and PYTHONPATH."""
    absent = ["tests", "bench", "pytest", "_pytest", "hypothesis", *sorted(needed_by_the_demo())]
    program = f"{ABSENT.format(absent=absent)}\nfrom meshward.testing import *; Decisions, running"
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_in_the_package() -> None:
    assert "meshward.testing" in setuptools.find_packages(str(ROOT / "src"))
