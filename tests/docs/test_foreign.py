"""No module but `kit.foreign` touches a file in a directory that another user owns: read from the syntax tree.

A path is foreign where an expression names one of `Run`'s own directories of hops, or a variable made from one.
It may be said (in a command line, a setting, a document), handed to `kit.foreign`, or be where somebody listens.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "meshward"
FOREIGN = {
    *("edge_dir", "decide_dir", "guard_dir", "model_dir"),
    *("decide_socket", "guard_socket", "model_socket"),
}
SAYS = {"str", "fspath", "dumps"}  # makes a text of it
TAKES = {
    *(
        "make_own",
        "hand_to",
        "take",
        "clear",
        "close_to_others",
        "make_room",
        "faults_in",
        "owner_of",
        "remove_tree",
        "opened",
    ),  # kit.foreign
    *("Listener", "socket_accepts", "http_ok", "GuardAdmin"),  # asks who listens there
    *("socket_path", "python_part", "ProcessSpec"),  # passes it on: `spawn` hands it to `make_own`
}
TOUCHES = {
    *(
        "open",
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "touch",
        "unlink",
        "rmdir",
        "mkdir",
        "rename",
    ),
    *(
        "replace",
        "chmod",
        "chown",
        "stat",
        "lstat",
        "exists",
        "is_file",
        "is_dir",
        "is_socket",
        "is_symlink",
        "iterdir",
    ),
    *(
        "glob",
        "rglob",
        "listdir",
        "scandir",
        "rmtree",
        "copy",
        "copytree",
        "symlink_to",
        "hardlink_to",
        "readlink",
    ),
    *(
        "resolve",
        "write_atomic",
        "opened_directory",
        "own_directory",
        "private_directory",
        "connect",
        "walk",
        "fwalk",
    ),
    *(
        "samefile",
        "samestat",
        "utime",
        "truncate",
        "statvfs",
        "access",
        "lchown",
        "makedirs",
        "remove",
        "link",
    ),
}
MODULES = sorted(
    path
    for path in SOURCE.rglob("*.py")
    if path != SOURCE / "kit" / "foreign.py"
    and SOURCE / "targets" not in path.parents  # those touch nothing at all
)


def name_of(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def is_foreign(node: ast.AST, known: set[str]) -> bool:
    return any(
        (isinstance(each, ast.Attribute) and each.attr in FOREIGN)
        or (isinstance(each, ast.Name) and each.id in known)
        for each in ast.walk(node)
    )


def is_path(node: ast.AST, known: set[str]) -> bool:
    """Whether it is a foreign path, and no text that names one."""
    match node:
        case ast.Call() if name_of(node) in SAYS | TAKES:
            return False
        case ast.JoinedStr():
            return False
        case ast.Attribute(attr=name) if name in FOREIGN:
            return True
        case ast.Name(id=name):
            return name in known
    return any(is_path(each, known) for each in ast.iter_child_nodes(node))


def known_in(function: ast.AST) -> set[str]:
    """The variables of a function that hold a foreign path, however long the chain."""
    known: set[str] = set()
    while True:
        before = len(known)
        for node in ast.walk(function):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.withitem | ast.For):
                known |= set(_made_foreign(node, known))
        if len(known) == before:
            return known


def _made_foreign(node: ast.AST, known: set[str]) -> Iterator[str]:
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            pairs = list(zip(targets, values, strict=False))
        case ast.Assign(targets=targets, value=value):
            pairs = [(target, value) for target in targets]
        case (
            ast.AnnAssign(target=target, value=ast.AST() as value) | ast.NamedExpr(target=target, value=value)
        ):
            pairs = [(target, value)]
        case ast.For(target=target, iter=value):
            pairs = [(target, value)]
        case _:
            return
    for target, value in pairs:
        if is_path(value, known):
            yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))


def touched(source: str) -> Iterator[str]:
    """Each place where a foreign path is touched, or given to who might."""
    tree = ast.parse(source)
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions or [tree]:
        known = known_in(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and _touches(node, known):
                yield f"{node.lineno}: {ast.unparse(node)[:90]}"


def _touches(call: ast.Call, known: set[str]) -> bool:
    name, given = name_of(call), [*call.args, *(keyword.value for keyword in call.keywords)]
    on = call.func.value if isinstance(call.func, ast.Attribute) else None
    if name in TOUCHES:
        return any(is_foreign(each, known) for each in given) or (on is not None and is_foreign(on, known))
    if name in SAYS | TAKES | FOREIGN:
        return False
    return any(is_path(each, known) for each in given) or (
        on is not None and name != "with_name" and is_path(on, known)
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(SOURCE)))
def test_nobody_else_touches_what_hops_own(module: Path) -> None:
    assert list(touched(module.read_text())) == []


@pytest.mark.parametrize(
    "line",
    [
        "(run.guard_dir(3) / 'xds').glob('*.json')",
        "x = run.edge_dir; y = x / 'page'; y.read_text()",
        "for file in run.decide_dir.iterdir(): pass",
        "open(str(run.edge_dir / 'page'))",
        "os.chown(self._machine.run.model_dir('m', 'v'), 0, 0)",
        "with opened(run.edge_dir) as d: shutil.rmtree(run.edge_dir)",
        "owner.write(run.edge_dir / 'page', b'')",
        "EdgePage.in_directory(run.edge_dir)",
        "a, b = run.edge_dir, 1; os.stat(a)",
        "socket.connect(str(run.guard_socket(1)))",
    ],
)
def test_a_touch_is_found(line: str) -> None:
    assert list(touched("def f():\n " + line))


@pytest.mark.parametrize(
    "line",
    [
        "make_own(run.guard_dir(3), holder)",
        "argv = (str(run.edge_dir), f'{run.edge_dir}/x')",
        "GuardSettings(str(run.guard_dir(1)), str(run.guard_given(1)))",
        "socket = run.guard_socket(1).with_name('admin.sock'); Listener(socket, 7)",
    ],
)
def test_what_only_says_where_it_is_is_none(line: str) -> None:
    assert not list(touched("def f():\n " + line))
