"""Durations, sizes, rates, dates, windows, networks, routes and pointers: what is taken, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.policy import grammar
from meshward.policy.grammar import Unreadable
from meshward.policy.values import Hours, Listen, Rate, Route

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PARSERS = [
    grammar.parse_duration,
    grammar.parse_size,
    grammar.parse_rate,
    grammar.parse_hours,
    grammar.parse_date,
    grammar.parse_instant,
    grammar.parse_address,
    grammar.parse_network,
    grammar.parse_proxy_network,
    grammar.parse_route,
    grammar.parse_listen,
    grammar.parse_pointer,
    grammar.parse_url,
    grammar.parse_server_url,
]


def epoch(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (grammar.parse_duration, "60s", 60),
        (grammar.parse_duration, "24h", 86400),
        (grammar.parse_duration, "36525d", 36525 * 86400),
        (grammar.parse_size, "512k", 512 * 1024),
        (grammar.parse_size, "2m", 2 * 1024**2),
        (grammar.parse_size, "7", 7),
        (grammar.parse_rate, "10/s", Rate(10, 1)),
        (grammar.parse_rate, "600/min", Rate(600, 60)),
        (grammar.parse_rate, "100/hour", Rate(100, 3600)),
        (grammar.parse_rate, "200000/day", Rate(200000, 86400)),
        (grammar.parse_date, "2027-03-31", epoch(2027, 4, 1)),
        (grammar.parse_date, "1970-01-01", 86400),
        (grammar.parse_date, "9999-12-31", epoch(9999, 12, 31) + 86400),
        (grammar.parse_date, "2027-03-31T12:00:00Z", epoch(2027, 3, 31, 12)),
        (grammar.parse_date, "2027-03-31T12:00:00+02:00", epoch(2027, 3, 31, 10)),
        (grammar.parse_instant, "2026-11-23 10:00", epoch(2026, 11, 23, 10)),
        (grammar.parse_instant, "2026-11-23T10:00:00-01:00", epoch(2026, 11, 23, 11)),
        (grammar.parse_network, "203.0.113.0/24", ip_network("203.0.113.0/24")),
        (grammar.parse_network, "2001:db8::1", ip_network("2001:db8::1/128")),
        (grammar.parse_network, "0.0.0.0/0", ip_network("0.0.0.0/0")),
        (grammar.parse_route, "POST /ask", Route("POST", "/ask")),
        (grammar.parse_route, "POST /", Route("POST", "/")),
        (grammar.parse_route, "GET /v1/a.b~c:d@e-f_g/", Route("GET", "/v1/a.b~c:d@e-f_g/")),
        (grammar.parse_listen, "127.0.0.1:8443", Listen("127.0.0.1", 8443)),
        (grammar.parse_listen, "[::1]:65535", Listen("::1", 65535)),
        (grammar.parse_pointer, "/realm_access/roles", ("realm_access", "roles")),
        (grammar.parse_pointer, "/https:~1~1x.example~1groups/~01", ("https://x.example/groups", "~1")),
    ],
)
def test_a_value_is_read(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("Mon-Fri", {0, 1, 2, 3, 4}),
        ("Sat,Sun", {5, 6}),
        ("Fri-Mon", {4, 5, 6, 0}),
        ("Mon,Wed-Thu", {0, 2, 3}),
        ("Mon-Sun", set(range(7))),
        ("Tue-Tue", {1}),
    ],
)
def test_days_of_a_window(days, expected):
    window = grammar.parse_hours(f"{days} 08:00-18:30 Europe/Berlin")
    assert window == Hours(frozenset(expected), 480, 1110, "Europe/Berlin")


def test_a_window_may_end_at_midnight_or_behind_it():
    assert grammar.parse_hours("Mon 08:00-24:00 UTC").end == 1440
    assert grammar.parse_hours("Mon 22:00-06:00 UTC") == Hours(frozenset({0}), 1320, 360, "UTC")


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (
            grammar.parse_duration,
            ["", "0s", "1", "s", "-1s", "1.5h", "1 h", "01h", "1w", "1S", "1h1m", "٣s", "1s\n"],
        ),
        (grammar.parse_duration, ["36526d", "9999999999d", "9" * 400 + "s"]),
        (grammar.parse_size, ["0", "2M", "2mb", "257m", "1g", "2 m", "-2m", "2m\n", "9" * 400]),
        (
            grammar.parse_rate,
            ["600", "0/min", "600/m", "600/ min", "1/week", "1e3/s", "1000000001/s", "10/s\n"],
        ),
        (
            grammar.parse_date,
            ["2027-02-30", "2027-3-1", "27-03-01", "0000-01-01", "1969-12-31", "2027-03-31 10:00"],
        ),
        (
            grammar.parse_date,
            ["2027-03-31T12:00:00", "2027-03-31T24:00:00Z", "2027-03-31T12:00:60Z", "٢٠٢٧-03-31"],
        ),
        (
            grammar.parse_date,
            ["0001-01-01T00:00:00+23:59", "2027-03-31T12:00:00+99:99", "1969-12-31T23:59:59Z"],
        ),
        (
            grammar.parse_instant,
            ["2026-11-23", "2026-11-23 25:00", "2026-11-31 10:00", "now", "2026-11-23 10:00\n"],
        ),
        (
            grammar.parse_hours,
            ["", "Mon-Fri", "Mon-Fri 8:00-18:00 UTC", "mon 08:00-18:00 UTC", "Mon 08:00-18:00"],
        ),
        (
            grammar.parse_hours,
            ["Mon 08:00-08:00 UTC", "Mon 24:00-06:00 UTC", "Mon 08:00-24:01 UTC", "Mon 08:60-09:00 UTC"],
        ),
        (grammar.parse_hours, ["Mon- 08:00-18:00 UTC", "Foo 08:00-18:00 UTC", "Mon-Tue-Wed 08:00-18:00 UTC"]),
        (
            grammar.parse_hours,
            [f"Mon 08:00-18:00 {zone}" for zone in ("Europe", "Mars/Base", "localtime", "../UTC")],
        ),
        (
            grammar.parse_hours,
            [f"Mon 08:00-18:00 {zone}" for zone in ("right/UTC", "posixrules", "/etc/passwd", "CEST")],
        ),
        (grammar.parse_address, ["", "1.2.3", "1.2.3.4/32", "010.0.0.1", "fe80::1%eth0", "localhost"]),
        (
            grammar.parse_network,
            ["203.0.113.9/24", "1.2.3.4/33", "1.2.3.4/", "::/129", "fe80::%1/64", "::ffff:1.2.3.4/128"],
        ),
        (grammar.parse_proxy_network, ["0.0.0.0/0", "::/0", "10.0.0.1/8"]),
        (
            grammar.parse_route,
            ["POST", "/ask", "post /ask", "POST  /ask", "POST /a?b", "POST /a%2f", "POST /a b", "FOO /a"],
        ),
        (
            grammar.parse_route,
            ["POST /../a", "POST /a/..", "POST /a/./b", "POST //a", "POST /a//b", "POST /a/.", "POST a"],
        ),
        (
            grammar.parse_route,
            ["POST /a#b", "POST /a;b", "POST /a\\b", "GET /" + "a" * 256, "POST /ä", "POST /a\n"],
        ),
        (
            grammar.parse_listen,
            ["8443", "localhost:8443", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:08443", "::1:80"],
        ),
        (
            grammar.parse_listen,
            ["[127.0.0.1]:80", "256.0.0.1:80", "[fe80::1%1]:80", "[]:80", "127.0.0.1:80 "],
        ),
        (grammar.parse_pointer, ["", "a", "/", "/a/", "//a", "/a~2", "/~", "/" + "a" * 256]),
    ],
)
def test_anything_else_is_refused(parse, texts):
    for text in texts:
        with pytest.raises(Unreadable):
            parse(text)


@given(st.integers(1, 36525), st.sampled_from("smhd"))
def test_durations_round_trip(number, unit):
    assert grammar.parse_duration(f"{number}{unit}") == number * UNITS[unit]


@given(st.dates(min_value=datetime(1970, 1, 1).date(), max_value=datetime(9998, 12, 30).date()))
def test_a_day_ends_when_the_next_begins(day):
    following = day + timedelta(days=1)
    assert grammar.parse_date(day.isoformat()) == epoch(following.year, following.month, following.day)


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 1, 1)))
def test_minutes_round_trip(moment):
    text = moment.strftime("%Y-%m-%d %H:%M") if moment.year >= 1000 else "1970-01-02 00:00"
    assert datetime.fromtimestamp(grammar.parse_instant(text), UTC).strftime("%Y-%m-%d %H:%M") == text


@given(st.ip_addresses(v=4), st.integers(1, 32))
def test_networks_round_trip_and_name_the_plain_one(address, prefix):
    plain = ip_network(f"{address}/{prefix}", strict=False)
    assert grammar.parse_network(str(plain)) == plain
    if str(plain) != f"{address}/{prefix}":
        with pytest.raises(Unreadable, match=str(plain)):
            grammar.parse_network(f"{address}/{prefix}")


@given(st.one_of(st.text(max_size=40), st.text(alphabet="0123456789smhd/:-. TZunix[]fe%@", max_size=40)))
def test_any_text_is_read_or_refused_with_a_sentence(text):
    for parse in PARSERS:
        try:
            parse(text)
        except Unreadable as error:
            assert error.cause and error.remedy and str(error).isprintable()
