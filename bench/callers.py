"""Many people who ask rarely, beside one caller who asks as often as all of them: what their cold decisions cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench import requests, turns
from bench.figures import Sample, middle, more, more_spread, shown, spread
from bench.load import Target
from bench.machine import served_first
from bench.mock import mock_model
from bench.processes import descendants, memory
from bench.report import Section, prose, say, table
from bench.whole import PARTS, Whole, whole_instance

PEOPLE, EVERY = 10_000, 10  # each asks once in `EVERY` seconds
RATE = PEOPLE // EVERY
CONNECTIONS, SLICE = 100, 1.0
ROUNDS = 3  # at most: in each, everybody asks once
ONE, MANY = "one caller", f"{PEOPLE:,} callers"
COUNTED = ("edge", "decide")


def measure(directory: Path, rounds: int) -> Section:
    with (
        served_first() as how,
        mock_model(directory) as mock,
        whole_instance(directory, mock) as whole,
    ):
        targets = _targets(whole, directory)
        targets[ONE].busy(1)
        opening = turns.paced(RATE, SLICE, CONNECTIONS)
        found = turns.in_turns(targets, opening, EVERY, min(rounds, ROUNDS), "callers")
        held = memory(descendants(whole.roots()["edge"])).pss
    cpu = {name: [sample.total(*COUNTED) for sample in samples] for name, samples in found.items()}
    head = ["who asks", *PARTS, "edge + decide", "+-", "p50 ms", "p99 ms"]
    extra = more(cpu[MANY], cpu[ONE]), more_spread(cpu[MANY], cpu[ONE])
    return Section("callers", "Many callers", [
        *table(head, [[name, *_row(samples)] for name, samples in found.items()]),
        "",
        *prose(
            f"A caller whom nobody remembers costs {shown(extra[0])} us more (+- {shown(extra[1])}) at edge and",
            f"decision service. {PEOPLE:,} people, each with a token of {requests.TOKEN_SIZE} bytes, ask once in",
            f"{EVERY} s, over {CONNECTIONS} connections from an address each; a decision is kept for 4 s, so every",
            f"request of theirs is decided anew. One caller sends as many, {RATE:,}/s. Microseconds of CPU time per",
            f"request, medians of {min(rounds, ROUNDS)} rounds of turns of {SLICE:g} s, all of it {how}. Afterwards",
            f"the edge held {shown(held)} MB (PSS).",
        ),
    ])  # fmt: skip


def _targets(whole: Whole, directory: Path) -> dict[str, Target]:
    say(f"callers: {PEOPLE:,} tokens")
    tokens, request = directory / "tokens", directory / "any.request"
    tokens.write_text("\n".join(requests.token(whole.issuer, f"person{number}") for number in range(PEOPLE)))
    bearer = {"Authorization": f"Bearer {requests.ANY_TOKEN}"}
    request.write_bytes(requests.post("/m/mock/embed", requests.prompt(), bearer))
    one = whole.target(directory, "mock", "/m/mock/embed", requests.prompt())
    return {ONE: one, MANY: replace(one, request=request, callers=tokens)}


def _row(samples: list[Sample]) -> list[str]:
    counted = [sample.total(*COUNTED) for sample in samples]
    figures = [
        *(middle(sample.total(part) for sample in samples) for part in PARTS),
        *(middle(counted), spread(counted)),
        *(middle(values) for values in zip(*((s.p50, s.p99) for s in samples), strict=True)),
    ]
    return [shown(figure) for figure in figures]
