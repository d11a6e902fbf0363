"""A person without rights, who asks and asks: records stay few and add up, and nobody else notices."""

from __future__ import annotations

import http.client
import json
import sqlite3
from collections import Counter
from contextlib import closing

from meshward.apply.tally import TOLD as ASKS_TOLD
from meshward.audit.flat import read
from meshward.audit.records import FILE, Records
from meshward.instance.prepare import MOST_WORKERS
from meshward.kit.wellknown import CONTROL
from meshward.targets.nginx.settings import EdgeSettings
from meshward.trace.story import story
from tests.stack.running import Stack, eventually

MANY = 3000


def flood(stack: Stack, token: str, number: int) -> list[http.client.HTTPMessage]:
    """The headers of so many refusals on one connection."""
    found = []
    with stack.connection(stack.tls()) as connection:
        for _ in range(number):
            connection.request(
                "GET", "/m/m1/v1/secret", headers={"Authorization": f"Bearer {token}", "Host": stack.hostname}
            )
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (403, 429)
            found.append(answer.headers)
    return found


def records_of(stack: Stack, subject: str) -> list[dict[str, str]]:
    """The edge's lines of refusals of `subject` that are kept."""
    with closing(sqlite3.connect(f"file:{stack.state / FILE}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT edge FROM records WHERE subject = ? AND status <> 200", (subject,)
        ).fetchall()
    return [read(text.encode()) for (text,) in rows]


def test_a_flood_is_few_records_that_add_up_and_the_gateway_stays_open(stack: Stack, alice: str) -> None:
    """She may use one route and not the other: what she may passes, in the midst of it."""
    answers = flood(stack, alice, MANY)
    assert stack.call("GET", "/m/m1/v1/public", alice).status == 200
    assert stack.call("GET", "/m/m2/v1/public", stack.issuer.token("bob", ["users"])).status == 200
    eventually(lambda: sum(int(line["n"] or 1) for line in records_of(stack, "test:alice")) >= MANY)
    lines = records_of(stack, "test:alice")
    assert sum(int(line["n"] or 1) for line in lines) == MANY
    seconds = len({line["t"].split(".")[0] for line in lines})
    told = EdgeSettings.__dataclass_fields__["refusals_told"].default
    assert len(lines) <= (told + 2) * MOST_WORKERS * seconds
    assert Counter(line["reason"] for line in lines).keys() <= {"no_grant", "too_many_refusals"}
    named = Counter(each["X-Counted-As"] for each in answers if "X-Counted-As" in each)
    rid, number = named.most_common(1)[0]
    with closing(Records(stack.state)) as records:
        told_of = story(records, rid)
    assert told_of is not None and told_of.as_json()["count"] == number
    assert stack.command("status").returncode == 0, "records are kept"


def test_asks_of_who_is_no_operator_are_few_lines_that_add_up(stack: Stack) -> None:
    """From more addresses than one, each of which nginx lets ask twenty times."""
    eve, answers = stack.issuer.token("eve", ["others"]), Counter[str]()
    headers = {"Authorization": f"Bearer {eve}", "Content-Type": "application/json", "Host": stack.hostname}
    for n in range(2, 10):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", stack.port, context=stack.tls(), source_address=(f"127.0.0.{n}", 0)
        )
        with closing(connection):
            for _ in range(20):
                connection.request("POST", CONTROL, json.dumps({"do": "history"}), headers)
                answer = connection.getresponse()
                said = json.loads(answer.read())
                answers[said["error_type"]] += 1
                assert answer.status in (403, 429)
    asked = answers["not_an_operator"] + answers["too_many_refusals"]
    assert asked == answers.total() == 160

    def told() -> list[int]:
        with closing(Records(stack.state)) as records:
            return [
                int(json.loads(line.facts).get("count", 1))
                for line in records.changes()
                if line.author == "test:eve"
            ]

    eventually(lambda: sum(told()) >= asked)
    with closing(Records(stack.state)) as records:
        seconds = len({line.t.split(".")[0] for line in records.changes() if line.author == "test:eve"})
    assert sum(told()) == asked and len(told()) <= (ASKS_TOLD + 2) * seconds
