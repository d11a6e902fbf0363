"""What the decision service says of itself is read as what it may be: it is a process like any other."""

from __future__ import annotations

import json

import pytest

from meshward.apply.decision_hop import Health, read_health

GOOD = {"policy": "d", "revision": 3, "until": "", "ejected": [], "reloads": 1, "reload": None}


def test_what_it_decides_by() -> None:
    health = read_health(json.dumps(GOOD))
    assert health.lack({"policy": "d", "revision": 3}) == []
    assert health.lack({"policy": "e"}) == ["policy is `d`"]
    assert Health(silent="it did not answer").lack({}) == ["it did not answer"]
    assert read_health(json.dumps({**GOOD, "reload": "no"})).refused == "no"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[]",
            "null",
            "[" * 200_000,
            '{"reloads": NaN}',
            '{"reloads": 1' + "0" * 5000 + ', "reload": null}',
        ),
        *(json.dumps({**GOOD, "reloads": bad}) for bad in (None, "1", 1.5, True, [])),
        *(json.dumps({**GOOD, "reload": bad}) for bad in (1, ["x"], {})),
    ],
)
def test_what_it_does_not_say(text: str) -> None:
    with pytest.raises(ValueError):
        read_health(text)


def test_what_it_says_is_told_in_few_words() -> None:
    (said,) = read_health(json.dumps({**GOOD, "policy": "\x1b[2J" * 100_000})).lack({"policy": "d"})
    assert len(said) < 1000 and "\x1b" not in said
