"""meshward traffic: which version of a model gets how much; at once, or step by step."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from meshward.apply.traffic.canary import CanaryState as Walking
from meshward.apply.traffic.weights import MOST, spell_weights
from meshward.cli.apply import Reason, tell
from meshward.cli.asking import ask_instance
from meshward.cli.options import DEFAULT_STATE, Json, RemoteEdge, State
from meshward.cli.output import print_json, run_verb, stderr, stdout
from meshward.control.verbs.traffic import TRAFFIC, Shifted, ToldTraffic, ToldWalk
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.grammar import parse_duration

_WEIGHT = re.compile(r"(?P<version>[^=]+)=(?P<weight>[0-9]{1,6})", re.ASCII)
_PERCENT = re.compile(r"(?P<number>[0-9]{1,2}(\.[0-9]{1,4})?)%?", re.ASCII)
_LOOK, _SAY = 1.0, 15.0  # seconds


def command(
    model: Annotated[str, Parameter(help="Whose versions.")],
    /,
    *versions: Annotated[str, Parameter(help="Weights, like v1=90 v2=10; or, with --step, one version.")],
    step: Annotated[
        str | None, Parameter(help="Walk there: the version's share in percent, like 5,25,100.")
    ] = None,
    every: Annotated[str | None, Parameter(help="How long each step is watched (10m).")] = None,
    back_if_errors: Annotated[
        str | None, Parameter(help="Walk back above this rate of failures (1%).")
    ] = None,
    least: Annotated[
        int | None, Parameter(help="Requests that a step must see before it is judged (20).")
    ] = None,
    stop: Annotated[bool, Parameter(negative="", help="End the walk where it is.")] = False,
    back: Annotated[bool, Parameter(negative="", help="With --stop: at the weights from before it.")] = False,
    reason: Reason = "",
    edge: RemoteEdge = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Set the weights of MODEL's versions, live; without any, show them.

    A version that is not named gets nothing. With --step the instance walks the version there by itself, and back to
    the weights from before if it fails; this command looks on. Ctrl-C leaves the walk running.

    Exits 0 when the weights are live or the walk has arrived, 5 if a hop refused or the walk went back, 3 if somebody
    else ended it.
    """

    def run() -> Exit:
        terms = _terms(step, every, back_if_errors, least)
        _require_sense(versions, walks=terms is not None, stop=stop, back=back)
        if reason and (stop or terms is not None):
            raise _usage_error("--reason goes with weights: each step of a walk has its own")
        request: dict[str, Any] = {"model": model}
        if stop:
            request |= {"stop": True, "back": back}
        else:
            request |= {**_versions(versions, walks=terms is not None), **(terms or {}), "reason": reason}
        done = ask_instance(state, TRAFFIC, request, edge)
        if terms is not None:
            return _follow(done, state, edge, as_json=json)
        return _tell(done, as_json=json)

    run_verb(run, as_json=json)


def _versions(texts: tuple[str, ...], *, walks: bool) -> dict[str, Any]:
    """`weights`, or of a walk the one `version`. Raises MeshwardError."""
    if walks and len(texts) == 1 and "=" not in texts[0]:
        return {"version": texts[0]}
    found: dict[str, int] = {}
    for text in texts:
        match = _WEIGHT.fullmatch(text)
        if match is None:
            raise _usage_error(
                f"`{text}` is no weight: write VERSION=NUMBER, like v1=90, a whole number from 0 to {MOST}"
            )
        if match["version"] in found:
            raise _usage_error(f"{match['version']} is given twice")
        found[match["version"]] = int(match["weight"])
    return {"weights": found or None}


def _terms(
    step: str | None, every: str | None, back_if_errors: str | None, least: int | None
) -> dict[str, Any] | None:
    if step is None:
        if (every, back_if_errors, least) != (None, None, None):
            raise _usage_error("--every, --back-if-errors and --least go with --step")
        return None
    if not re.fullmatch(r"[0-9]{1,3}%?(,[0-9]{1,3}%?)*", step, re.ASCII):
        raise _usage_error("--step takes percent, like 5,25,100")
    bound = None if back_if_errors is None else _PERCENT.fullmatch(back_if_errors)
    if back_if_errors is not None and bound is None:
        raise _usage_error("--back-if-errors takes percent below 100, like 1% or 0.5%")
    if least is not None and least < 1:
        raise _usage_error("--least takes a number from 1")
    try:
        seconds = None if every is None else parse_duration(every)
    except ValueError as error:
        raise _usage_error(f"--every: {error}") from None
    steps = [int(each.rstrip("%")) for each in step.split(",")]
    percent = float(bound["number"]) if bound else None
    return {"steps": steps, "every": seconds, "bound": percent, "least": least}


def _require_sense(versions: tuple[str, ...], *, walks: bool, stop: bool, back: bool) -> None:
    if back and not stop:
        raise _usage_error("--back goes with --stop")
    if stop and (versions or walks):
        raise _usage_error("--stop ends the walk that runs: give it no weights and no steps")
    if walks and not versions:
        raise _usage_error("--step walks a version: name it, or give the weights to walk to")


def _follow(done: ToldTraffic, state: Path, edge: str | None, *, as_json: bool) -> Exit:
    """Look on until the walk is over, and say what became of it."""
    walk = begun = done.walk
    said, last = "", 0.0
    try:
        while walk is not None and begun is not None and walk.began == begun.began and not walk.over:
            if walk.sentence != said or time.monotonic() - last >= _SAY:
                said, last = walk.sentence, time.monotonic()
                stderr().print(Text(f"... {_line(walk)}", style="dim"))
            time.sleep(_LOOK)
            done = ask_instance(state, TRAFFIC, {"model": done.model}, edge, quiet=True)
            walk = done.walk
    except KeyboardInterrupt:
        name = done.model
        text = (
            f"The walk goes on. `meshward traffic {name}` shows it, `meshward traffic {name} --stop` ends it."
        )
        stderr().print(Text(text))
        return _tell(done, as_json=True) if as_json else Exit.OK
    return _end(done, begun, as_json=as_json)


def _end(done: ToldTraffic, begun: ToldWalk | None, *, as_json: bool) -> Exit:
    walk = done.walk
    if walk is None or begun is None or walk.began != begun.began:
        raise MeshwardError(codes.WALK_REPLACED, "another walk was begun", "")
    if walk.state is Walking.BACK:
        remedy = f"The weights are {spell_weights(done.weights)} again; see `meshward history`."
        raise MeshwardError(codes.WALK_WENT_BACK, walk.why, remedy)
    if walk.state is not Walking.DONE:
        message = f"the walk of {walk.version} ended: {walk.why}"
        raise MeshwardError(codes.WALK_REPLACED, message, "")
    return _tell(done, as_json=as_json)


def _tell(done: ToldTraffic, *, as_json: bool) -> Exit:
    if as_json:
        print_json({"ok": True, **done.as_json()})
        return Exit.OK
    if isinstance(done, Shifted):
        return tell(done, as_json=False)
    stdout().print("\n".join(_lines(done)), markup=False)
    return Exit.OK


def _lines(done: ToldTraffic) -> list[str]:
    shares, ejected = done.shares, done.ejected
    lines = [
        f"{done.model}/{version}  weight {weight}  {shares[version]:g}%"
        + (f"  EJECTED: {ejected[version]}" if version in ejected else "")
        for version, weight in done.weights.items()
    ]
    return [*lines, _line(done.walk)] if done.walk else lines


def _line(walk: ToldWalk) -> str:
    """`sentence`, and of a walk that runs what it has seen and what it waits for."""
    counted = f"{walk.failed} of {walk.requests} requests failed" if walk.requests is not None else ""
    return "; ".join(filter(None, [walk.sentence, *([] if walk.over else [counted, walk.says])]))


def _usage_error(message: str) -> MeshwardError:
    return MeshwardError(codes.TRAFFIC_USAGE, message)
