"""A login whose new ID token is over already was made by clocks that differ."""

from __future__ import annotations

import json

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.kit.strict import encode
from meshward.login.tokens import Tokens, check_identity

NOW = 1_700_000_000


def check(exp: object) -> None:
    claims = {"iss": "https://idp.test", "aud": "cli", "exp": exp}
    text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "ES256"}, claims, {}))
    check_identity(Tokens(Secret("x"), Secret(text), None, None), "https://idp.test", "cli", None, NOW + 0.25)


@pytest.mark.parametrize(
    ("exp", "words"),
    [
        (NOW - 75, "ended 75 s ago"),
        (0, "ended more than a day ago"),
        (-(10**400), "ended more than a day ago"),
    ],
)
def test_clock_skew_is_named_with_the_difference(exp: int, words: str) -> None:
    with pytest.raises(MeshwardError) as refused:
        check(exp)
    assert words in refused.value.message and "clock skew" in refused.value.message


def test_an_end_that_is_none_is_no_skew() -> None:
    check(NOW - 59)
    for exp in (None, "1", 1.5):
        with pytest.raises(MeshwardError) as refused:
            check(exp)
        assert "skew" not in refused.value.message
