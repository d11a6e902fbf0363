"""A guard is silent only if none of its last questions is answered: one connection may break off by chance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from meshward.apply import guards
from meshward.apply.guards import _last_word
from meshward.kit.hop_socket import NoAnswer


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "PAUSE", 0.0)


def lacks(answers: Iterator[tuple[str, ...] | None], *, within: float) -> tuple[str, ...]:
    assert 0 <= within <= guards.SILENCE
    if (answer := next(answers)) is None:
        raise NoAnswer("it broke off")
    return answer


@pytest.mark.parametrize("broken", range(guards.QUESTIONS))
def test_one_that_answers_at_last_is_heard(broken: int) -> None:
    assert _last_word(partial(lacks, iter([*[None] * broken, ("a cluster",)]))) == ("a cluster",)


def test_one_that_never_answers_is_silent() -> None:
    answers = iter([None] * guards.QUESTIONS)
    with pytest.raises(NoAnswer, match="it broke off"):
        _last_word(partial(lacks, answers))
    assert list(answers) == []
