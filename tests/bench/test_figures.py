"""The arithmetic behind bench/RESULTS.md, and how a run replaces its own section there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bench.figures import Sample, Verdict, more, ratio, ratio_spread, shown, spread, steps
from bench.processes import BenchError, Meter, cpu_ns
from bench.report import Section, merged, table
from hypothesis import given
from hypothesis import strategies as st

from bench import __main__ as command
from bench import report

SERIES = st.lists(st.floats(1, 1e6), min_size=1, max_size=9)
ORDER = ("path", "memory")


def test_one_slow_round_does_not_move_a_comparison() -> None:
    assert ratio([180, 181, 900], to=[100, 101, 99]) == pytest.approx(1.81)
    assert more([180, 181, 900], than=[100, 101, 99]) == pytest.approx(81)


def test_a_machine_that_slows_down_between_rounds_spreads_no_ratio() -> None:
    assert ratio_spread([150, 300, 600], to=[100, 200, 400]) == 0
    assert ratio_spread([150, 300, 600], to=[100, 200, 300]) == pytest.approx(0.25)


@given(st.dictionaries(st.text(max_size=3), SERIES, min_size=1))
def test_the_steps_of_a_ladder_sum_to_its_last_rung(ladder: dict[str, list[float]]) -> None:
    last = list(ladder)[-1]
    assert sum(steps(ladder).values()) == pytest.approx(sum(steps({last: ladder[last]}).values()), abs=1e-6)


def test_spread_is_half_the_distance_between_the_quartiles() -> None:
    assert spread([1, 2, 3, 4, 5]) == 1.5
    assert spread([7]) == 0.0


@pytest.mark.parametrize(
    ("verdict", "met"),
    [
        (Verdict("", 1.8, 1.8, "x"), True),
        (Verdict("", 1.81, 1.8, "x"), False),
        (Verdict("", 2000, 2000, "/s", least=True), True),
        (Verdict("", 1999, 2000, "/s", least=True), False),
    ],
)
def test_a_target_is_met_up_to_and_including_its_bound(verdict: Verdict, met: bool) -> None:
    assert verdict.met is met
    assert verdict.cells()[-1] == ("met" if met else "**missed**")


def test_a_verdict_shows_how_far_it_is_off_where_that_is_known() -> None:
    assert Verdict("", 1.48, 1.5, "x", off=0.04).cells()[2] == "1.48 x (+- 0.04)"
    assert Verdict("", 0, 0, "").cells()[2] == "0.00"


def test_what_was_not_measured_is_shown_as_nothing() -> None:
    assert shown(Sample(1, 1.0, {}).p99) == ""


def test_figures_show_three_digits() -> None:
    assert [shown(value) for value in (0.123, 1.234, 12.34, 123.4, -1234.5)] == [
        "0.12",
        "1.23",
        "12.3",
        "123",
        "-1234",
    ]


def test_cpu_time_is_divided_among_the_requests_of_a_load() -> None:
    meter = Meter({"me": os.getpid()})
    before = {"me": meter.read()["me"] - 10_000_000}
    sample = meter.sample(before, {"requests": 1000, "seconds": 2.0, "p50": 1, "p99": 2, "errors": 0})
    assert sample.total("me") >= 10
    assert sample.rate == 500
    assert Sample(1, 1.0, {"a": 1, "b": 2, "c": 4}, 0, 0).total("a", "c") == 5


@pytest.mark.parametrize("load", [{"requests": 0, "errors": 0}, {"requests": 9, "errors": 1}])
def test_a_load_that_was_not_served_is_no_measurement(load: dict[str, int]) -> None:
    meter = Meter({})
    with pytest.raises(BenchError, match="not served"):
        meter.sample({}, {"seconds": 1.0, "p50": 1, "p99": 1, **load})


def test_the_clock_counts_what_this_process_computes() -> None:
    before = cpu_ns(os.getpid())
    sum(range(2_000_000))
    assert cpu_ns(os.getpid()) - before > 1_000_000


def test_a_run_replaces_its_own_section_and_keeps_the_others() -> None:
    one = merged("", Section("memory", "Memory", ["one"]), "then", ORDER)
    two = merged(one, Section("path", "Path", table(["a"], [["1"]])), "later", ORDER)
    three = merged(two, Section("memory", "Memory", ["two"]), "now", ORDER)
    assert three.index("## Path") < three.index("## Memory")
    assert "two" in three and "one" not in three and "| 1 |" in three and "*later*" in three
    assert merged(three, Section("memory", "Memory", ["two"]), "now", ORDER) == three


def test_a_scenario_that_cannot_be_measured_keeps_none_of_the_others_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_directory: Path, _rounds: int) -> Section:
        raise BenchError("no wrk here")

    scenarios = {
        "path": fails,
        "memory": lambda _directory, rounds: Section("memory", "M", [f"{rounds} rounds"]),
    }
    monkeypatch.setattr(command, "_scenarios", lambda _peers: scenarios)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr("sys.argv", ["bench", "--rounds", "3"])
    assert command.main() == 1
    assert "3 rounds" in report.RESULTS.read_text()
    assert "path: no wrk here" in capsys.readouterr().err
