"""Where a policy may send something, and where never."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.policy.grammar import Unreadable, parse_server_url, parse_url
from meshward.policy.urls import UnixSocket, Url, is_forbidden_host, is_loopback


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("unix:/run/models/minilm-v1.sock", UnixSocket("/run/models/minilm-v1.sock")),
        ("http://127.0.0.1:8000", Url("http", "127.0.0.1", 8000, "")),
        ("http://127.0.0.1:8000/", Url("http", "127.0.0.1", 8000, "/")),
        ("http://[::1]:8000", Url("http", "::1", 8000, "")),
        ("http://my_service:80", Url("http", "my_service", 80, "")),
        (
            "https://abc123.eu-west-1.aws.endpoints.huggingface.cloud",
            Url("https", "abc123.eu-west-1.aws.endpoints.huggingface.cloud", None, ""),
        ),
    ],
)
def test_a_server_has_a_url(text, value):
    assert parse_server_url(text) == value
    assert str(value) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8000",
        "ftp://a",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "HTTP://a",
        "http://a:0",
        "http://a:65536",
        "http://a:08",
        "http://u@a",
        "http://u:p@a",
        "http://a?x",
        "http://a#x",
        "http://a/v1",
        "http://a\\@b",
        "http://a b",
        "http://a..b",
        "http://-a",
        "http://a.",
        "http://[::1",
        "http://[1.2.3.4]",
        "http://[fe80::1%25eth0]",
        "http://256.1.1.1",
        "http://2130706433",
        "http://0x7f.0.0.1",
        "http://a.0x7f",
        "http://127.1",
        "http://1.2.3.04",
        "http://ä.example",
        "http://a\n",
        "http://a/%2e%2e",
        "unix:relative.sock",
        "unix:/a/../b",
        "unix:/a//b",
        "unix:/a/",
        "unix:/a b",
        "unix:/a;b",
        "unix:///a",
        "unix:/" + "a" * 103,
    ],
)
def test_no_server_is_there(text):
    with pytest.raises(Unreadable):
        parse_server_url(text)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "[fe80::1]",
        "[febf::1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "METADATA",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
    ],
)
def test_metadata_and_link_local_are_refused(host):
    assert is_forbidden_host(host.strip("[]"))
    for scheme in ("http", "https"):
        with pytest.raises(Unreadable):
            parse_server_url(f"{scheme}://{host}:80/")


@given(st.integers(0, 0xFFFF))
def test_all_of_link_local_is_refused(low):
    address = f"169.254.{low >> 8}.{low & 255}"
    assert is_forbidden_host(address)
    assert is_forbidden_host(f"::ffff:{address}")


def test_issuers_have_paths_in_one_spelling():
    assert parse_url("https://sso.example.com/realms/staff").path == "/realms/staff"
    for path in ("/a/../b", "/a//b", "/a/.", "/a?b", "/a%20b"):
        with pytest.raises(Unreadable):
            parse_url(f"https://sso.example.com{path}")


def test_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("10.0.0.1", "localhost.example", "1.27.0.0", "::2")))
