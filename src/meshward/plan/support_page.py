"""docs/support.md: which hop enforces what, on which path, and what each key of the format asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from meshward.plan.coverage import Hop, Path, Way, enforcers
from meshward.plan.features import ON_PATHS, Can, Cannot, Feature, Support
from meshward.plan.requirements import KEYS, Checked, Row

_INTRODUCTION = """# What enforces what

This page is made by `make docs` from the tables by which `up`, `plan` and `apply` prove a policy: what is not enforced
on each path is refused there by its code, before a file is written. What a hop leaves, another hop of the same path
must enforce; one hop must see all facts of a decision. See [the target contract](architecture.md#the-target-contract).
On a [site](site.md) a sidecar of the mesh stands in the guard's place; what is left to nobody there [`render` tells or
refuses](render.md#the-report).
"""
_MARKS = {Can: "yes", Cannot: "no"}


def support_text(paths: Sequence[Path]) -> str:
    """The page, for `paths`."""
    named: dict[str, Hop] = {}
    for path in paths:
        for hop in path.hops if path.way is not Way.BESIDE else ():
            named.setdefault(hop.name, hop)  # as it stands first
    hops = list(named.values())
    beside = [hop for path in paths if path.way is Way.BESIDE for hop in path.hops]
    sections = [
        _INTRODUCTION,
        "## Paths\n\n" + "".join(f"* `{path.name}`: {path.way.value}\n" for path in paths),
        _matrix(hops),
        *(_reasons(hop) for hop in (*hops, *beside)),
        _keys(paths),
    ]
    return "\n".join(sections)


def _matrix(hops: Sequence[Hop]) -> str:
    names = [hop.name for hop in hops]
    rows = (
        (feature.title, feature.meaning, *(_mark(hop.table[feature]) for hop in hops), feature.code.number)
        for feature in ON_PATHS
    )
    intro = (
        "## Hops\n\n"
        "*not yet*: it could, and this release does not. *yes, reload*: a change may need a reload, which can lose\n"
        "requests on idle connections. A policy is refused by the code where no hop of a path says yes.\n\n"
    )
    return intro + _table(("feature", "what holds", *names, "code"), rows)


def _mark(support: Support) -> str:
    mark = _MARKS.get(type(support), "not yet")
    return f"{mark}, reload" if isinstance(support, Can) and support.reload else mark


def _reasons(hop: Hop) -> str:
    rows = ((feature.title, _mark(support), _reason(support)) for feature, support in hop.table.items())
    return f"## {hop.name.capitalize()}\n\n" + _table(("feature", "", "how, or why not"), rows)


def _reason(support: Support) -> str:
    if isinstance(support, Cannot):
        return f"{support.why} ([why]({support.link}))"
    return support.how if isinstance(support, Can) else support.why


def _keys(paths: Sequence[Path]) -> str:
    rows = ((f"`{key}`", *_asks(row, paths)) for key, row in KEYS.items())
    intro = (
        "## Keys\n\n"
        "What each key of the [policy](policy.md) asks for; some ask by certain values only. What belongs to another\n"
        "key asks for nothing by itself. *checked*: for `check` and for people; it changes nothing at run time.\n\n"
    )
    return intro + _table(("key", "asks for", "not yet enforced"), rows)


def _asks(row: Row, paths: Sequence[Path]) -> tuple[str, str]:
    if isinstance(row, Checked):
        return "*checked*", ""
    features = [need.feature for need in row]
    missing = [each for each in features if not any(enforcers(path, each) for path in paths)]
    return _titles(features), _titles(missing)


def _titles(features: Iterable[Feature]) -> str:
    return ", ".join(feature.title for feature in features)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(_line(cells) for cells in _lines(head, rows))


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    yield head
    yield ["---"] * len(head)
    yield from rows


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
