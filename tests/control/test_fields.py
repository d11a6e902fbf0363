"""What an instance is asked: a field that is wrong is named with why, and what was written there is not said back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshward.control.ask import VERBS, _parse_fields
from meshward.kit.errors import MeshwardError
from meshward.testing.issuer import Issuer

TOKEN = Issuer().token("alice")
WITH_REASON = {
    "apply": {"policy": "{}"},
    "rollback": {"revision": 1},
    "revoke": {"subject": "test:alice"},
    "rotate": {"what": "svids"},
    "traffic": {"model": "m1", "weights": {"v1": 1}},
}


def refused(verb: str, fields: dict[str, Any]) -> str:
    with pytest.raises(MeshwardError) as error:
        _parse_fields(VERBS[verb], {"do": verb, **fields})
    return f"{error.value.message} {error.value.remedy}"


def test_a_field_that_is_wrong_is_named_with_why() -> None:
    wrong = {"subject": "x" * 9000, "until": 1 << 60, "reason": "y" * 2000, "made_up": "z"}
    said = refused("revoke", wrong)
    assert all(f"`{name}`: " in said for name in ("subject", "until", "reason")), said
    assert "8192" in said and "1000" in said and "1 fields are not known" in said, said
    assert not any(each in said for each in ("xxx", "yyy", "made_up")), said


@pytest.mark.parametrize("verb", WITH_REASON)
@pytest.mark.parametrize("text", [TOKEN, f"it was {TOKEN}, you see", f"Bearer\t{TOKEN}"])
def test_a_reason_is_kept_for_ever_and_holds_no_token(verb: str, text: str) -> None:
    said = refused(verb, {**WITH_REASON[verb], "reason": text})
    assert "`reason`: it holds a token" in said and TOKEN[:20] not in said, said
    assert TOKEN[:20] not in json.dumps(said)


@pytest.mark.parametrize("text", ["left us", "see ticket a.b.c", "see tickets.example.com/" + "x" * 200, ""])
def test_other_reasons_are_taken(text: str) -> None:
    assert _parse_fields(VERBS["revoke"], {"do": "revoke", "subject": "a:b", "reason": text}).reason == text  # type: ignore[attr-defined]
