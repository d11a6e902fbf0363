"""What is changed in a module to see whether its tests notice: one condition, operator or statement at a time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

_INVERSE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_AT_THE_BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_OTHER: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}
_SWAPPED = {"all": "any", "any": "all", "min": "max", "max": "min"}
_NOT_CODE = {"annotation", "returns", "decorator_list", "bases"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change of a `kind`: in `function`, `was` became `becomes`."""

    function: str
    kind: str
    was: str
    becomes: str
    code: CodeType

    @property
    def name(self) -> str:
        return f"{self.function}: {self.was} -> {self.becomes}"


def mutants_of(source: str, file: str) -> Iterator[Mutant]:
    """Every changed form of a module, in the order of its text; each once."""
    tree = ast.parse(source)
    seen = {ast.unparse(tree)}
    for slot in _slots(tree, "module"):
        for kind, new in _changes(slot):
            was = slot.shown()
            slot.put(new)
            text = ast.unparse(tree)
            if text not in seen:
                seen.add(text)
                code = compile(ast.fix_missing_locations(tree), file, "exec")
                yield Mutant(slot.function, kind, was, slot.shown(), code)
            slot.put(slot.node)


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a node stands in the tree: what may be put in its place depends on it."""

    function: str
    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST
    returns_bool: bool

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node

    def shown(self) -> str:
        """What now stands there; a name or a value together with what it stands in."""
        value = getattr(self.parent, self.field)
        node = value if self.index is None else value[self.index]
        small = isinstance(node, (ast.Constant, ast.Name)) and isinstance(self.parent, ast.expr)
        text = ast.unparse(self.parent if small else node)
        return "nothing" if isinstance(node, ast.Pass) else " ".join(text.split())


_Change = tuple[str, ast.AST]


def _slots(parent: ast.AST, function: str, returns_bool: bool = False) -> Iterator[_Slot]:
    for field, value in ast.iter_fields(parent):
        if field in _NOT_CODE:
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or _is_type(node):
                continue
            inner, is_bool = function, returns_bool
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                inner = node.name if function == "module" else f"{function}.{node.name}"
            if isinstance(node, ast.FunctionDef):
                is_bool = node.returns is not None and ast.unparse(node.returns) in ("bool", "bool | None")
            yield _Slot(inner, parent, field, index, node, is_bool)
            yield from _slots(node, inner, is_bool)


def _is_type(node: ast.AST) -> bool:
    """Whether it is the name of a type, as `_Key = tuple[str | None, ...]`."""
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)


def _changes(slot: _Slot) -> Iterator[_Change]:
    node = slot.node
    match node:
        case ast.Compare():
            yield from _comparison(node)
        case ast.BoolOp():
            yield from _junction(node)
        case ast.UnaryOp(op=ast.Not()):
            yield "inverted", node.operand
        case ast.BinOp() if type(node.op) in _OTHER:
            yield "other operator", ast.BinOp(node.left, _OTHER[type(node.op)](), node.right)
        case ast.Name(ctx=ast.Load()) if node.id in _SWAPPED:
            yield f"{_SWAPPED[node.id]} for {node.id}", ast.Name(_SWAPPED[node.id], ast.Load())
        case ast.Constant():
            yield from _constant(node, slot)
        case ast.stmt():
            yield from _statement(node, slot)
    if slot.field in ("test", "ifs") and not isinstance(node, (ast.Compare, ast.UnaryOp)):
        yield "inverted", ast.UnaryOp(ast.Not(), node)  # type: ignore[arg-type]


def _comparison(node: ast.Compare) -> Iterator[_Change]:
    for place, op in enumerate(node.ops):
        for kind, table in (("inverted", _INVERSE), ("boundary moved", _AT_THE_BOUNDARY)):
            if type(op) in table:
                ops = [*node.ops[:place], table[type(op)](), *node.ops[place + 1 :]]
                yield kind, ast.Compare(node.left, ops, node.comparators)


def _junction(node: ast.BoolOp) -> Iterator[_Change]:
    is_or = isinstance(node.op, ast.Or)
    yield ("and for or" if is_or else "or for and"), ast.BoolOp(ast.And() if is_or else ast.Or(), node.values)
    for place in range(len(node.values)):
        left = [*node.values[:place], *node.values[place + 1 :]]
        yield "part left out", ast.BoolOp(node.op, left) if len(left) > 1 else left[0]


def _constant(node: ast.Constant, slot: _Slot) -> Iterator[_Change]:
    """Truths, what is not known, and numbers. Texts are words for people."""
    value = node.value
    if isinstance(value, bool):
        yield "other value", ast.Constant(not value)
        if isinstance(slot.parent, ast.IfExp):
            yield "other value", ast.Constant(None)
    elif value is None and _is_unknown(slot.parent):
        yield "other value", ast.Constant(True)
        yield "other value", ast.Constant(False)
    elif isinstance(value, int):
        yield "other value", ast.Constant(value - 1)


def _is_unknown(parent: ast.AST) -> bool:
    """Whether None stands there for what is not known: in a choice, or in a value that is made."""
    if isinstance(parent, ast.Call):
        return isinstance(parent.func, ast.Name) and parent.func.id[0].isupper()
    return isinstance(parent, ast.IfExp)


def _statement(node: ast.stmt, slot: _Slot) -> Iterator[_Change]:
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        if slot.returns_bool:
            yield "inverted", ast.Return(ast.UnaryOp(ast.Not(), node.value))
        yield "None returned", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.AugAssign) or (
        isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    ):
        yield "statement left out", ast.Pass()
