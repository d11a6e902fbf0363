"""What is replaced when: pure, so that years pass in a moment and clocks may jump."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply.keys import schedule
from meshward.apply.keys.inventory import (
    CA,
    EDGE_CERTIFICATE,
    OLD_ROOT,
    RETIRED_KEYS,
    ROOT,
    SIGNING_KEY,
    SVIDS,
    Age,
    Failure,
    KeyInventory,
    _svid_age,
    list_due,
    load_failures,
    save_failure,
)
from meshward.runtime.place.directories import Run
from meshward.tokens.keys import RETIRED_FOR

HOUR, DAY = 3600.0, 86400.0
NOW = 1_790_000_000.0


def age(what: str, life: float, share: float, begins: float = NOW) -> Age:
    return Age(what, what, begins, begins + life, begins + life * share, begins + life * 2 / 3)


YOUNG = KeyInventory(
    (
        age(ROOT, 3650 * DAY, 0.6),
        age(CA, 365 * DAY, 0.6),
        age(SVIDS, HOUR, 1 / 3),
        age(SVIDS, HOUR, 1 / 3, NOW + 5),
        age(EDGE_CERTIFICATE, 7 * DAY, 1 / 3),
        Age(SIGNING_KEY, "", NOW, None, NOW + DAY, NOW + 1.5 * DAY),
    ),
    {},
)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (10, ()),
        (HOUR / 3, (SVIDS,)),
        (DAY, (SVIDS, SIGNING_KEY)),
        (3 * DAY, (SVIDS, EDGE_CERTIFICATE, SIGNING_KEY)),
        (220 * DAY, (CA, EDGE_CERTIFICATE, SIGNING_KEY)),
        (2200 * DAY, (ROOT, CA, EDGE_CERTIFICATE, SIGNING_KEY)),
    ],
)
def test_each_in_its_time_and_leaves_come_with_their_authority(
    after: float, expected: tuple[str, ...]
) -> None:
    assert list_due(YOUNG, NOW + after) == expected


def test_everything_is_replaced_before_two_thirds_of_its_life() -> None:
    for each in YOUNG.ages:
        assert each.rotates is not None and each.rotates < each.alarm
        assert each.what in list_due(KeyInventory((each,), {}), each.alarm - 1)
        assert not each.finding(each.rotates) and each.finding(each.alarm)


def test_a_clock_that_was_set_back_makes_new_leaves_and_no_new_root() -> None:
    assert list_due(YOUNG, NOW - DAY) == (CA, EDGE_CERTIFICATE, SIGNING_KEY)
    leaves = tuple(each for each in YOUNG.ages if each.what == SVIDS)
    assert list_due(KeyInventory(leaves, {}), NOW - DAY) == (SVIDS,)


def test_what_failed_is_tried_again_and_a_begun_root_goes_on() -> None:
    assert list_due(replace(YOUNG, failures={SIGNING_KEY: Failure("", NOW)}), NOW + 10) == (SIGNING_KEY,)
    assert list_due(replace(YOUNG, unfinished=True), NOW + 10) == (ROOT,)
    old = Age(OLD_ROOT, "", NOW, NOW + DAY, NOW + 20, NOW + DAY)
    assert list_due(KeyInventory((old,), {}), NOW + 19) == () and list_due(
        KeyInventory((old,), {}), NOW + 20
    ) == (OLD_ROOT,)


def test_retired_signing_keys_are_forgotten_when_their_tokens_have_ended() -> None:
    assert list_due(replace(YOUNG, retired=NOW), NOW + RETIRED_FOR - 1) == ()
    assert list_due(replace(YOUNG, retired=NOW), NOW + RETIRED_FOR) == (RETIRED_KEYS,)


def test_retired_signing_keys_of_the_future_are_looked_at_too() -> None:
    """The clock was set back: else a key would be accepted for as long as that, and not for three minutes."""
    assert list_due(replace(YOUNG, retired=NOW + HOUR), NOW + 10) == (RETIRED_KEYS,)


def test_what_cannot_be_read_is_due_and_hinders_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    broken = run.guard_given(0) / "xds"
    broken.mkdir(parents=True)
    (broken / "svid.json").write_text("{")
    (broken / "svid.json").chmod(0o600)
    for slot in (0, 1):
        found = _svid_age("the guard of m/v1", run, slot)
        assert list_due(KeyInventory((found,), {}), NOW) == (SVIDS,)
        assert "workload certificate is not as it was handed out: the guard of m/v1" in found.finding(NOW)


def test_two_failures_at_the_same_time_are_both_kept(tmp_path: Path) -> None:
    def keep(what: str) -> None:
        for turn in range(60):
            save_failure(tmp_path, what, f"{turn}")
            assert load_failures(tmp_path)[what].why == f"{turn}"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, (SVIDS, CA, SIGNING_KEY, EDGE_CERTIFICATE)))


def test_a_fault_of_the_files_hinders_no_renewal_and_a_clock_that_jumps_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks = list[float]()
    mesh: Any = SimpleNamespace(machine=SimpleNamespace(state=SimpleNamespace(path=tmp_path)))

    def broken(_: object) -> None:
        raise OSError("no space is left")

    async def follow() -> None:
        task = asyncio.create_task(schedule.keep_current(mesh))
        for jump in (0.0, 2 * DAY, -HOUR):
            monkeypatch.setattr(schedule, "_clock", lambda jump=jump: jump)
            before = len(looks)
            async with asyncio.timeout(60):
                while len(looks) == before:
                    await asyncio.sleep(0.01)
        task.cancel()

    monkeypatch.setattr(schedule, "POLL", 0.01)
    monkeypatch.setattr(schedule, "take_files", broken)
    monkeypatch.setattr(schedule, "replace_due", lambda _: looks.append(1))
    asyncio.run(follow())
    assert len(looks) == 3


def test_a_certificate_from_files_is_left_to_whoever_keeps_them() -> None:
    files = Age(EDGE_CERTIFICATE, "the edge", NOW, NOW + DAY, None, NOW + DAY * 2 / 3)
    sight = KeyInventory((files,), {EDGE_CERTIFICATE: Failure("MW3041: unfit", NOW)})
    assert list_due(KeyInventory((files,), {}), NOW) == ()
    untaken = KeyInventory((files,), {EDGE_CERTIFICATE: Failure("MW3021: the edge", NOW)})
    assert list_due(untaken, NOW) == (EDGE_CERTIFICATE,), "it is nginx that did not take it"
    assert list_due(sight, NOW + 2 * DAY) == list_due(sight, NOW - DAY) == ()
    assert "server certificate expired" in files.finding(NOW + DAY) and "renew its files" in files.finding(
        NOW + DAY
    )


def test_a_finding_says_what_expired_and_how_to_mend_it() -> None:
    told = age(SVIDS, HOUR, 1 / 3).finding(NOW + HOUR)
    assert told.startswith("workload certificate expired") and "`meshward rotate svids`" in told
