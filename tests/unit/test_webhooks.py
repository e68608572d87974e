"""What webhooks are told of, how it is signed, and where it may be sent."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from cache_builder.hooks import FIRST_S, LONGEST_S, pause_s
from rollotape.errors import Refused
from rollotape.webhooks.addresses import Forbidden, Policy, Wrong, policy
from rollotape.webhooks.facts import Wish, read
from rollotape.webhooks.signing import shown, signature

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1", "100.100.100.200", "192.0.0.8", "198.18.0.1", "203.0.113.9", "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255", "168.63.129.16", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1",
        "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused_in_every_disguise(address: str) -> None:
    with pytest.raises(Forbidden):
        Policy().judge(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_what_is_public_is_let_through(address: str) -> None:
    assert str(Policy().judge(address))


def test_networks_of_the_settings_are_let_through_and_nothing_beside_them() -> None:
    inside = policy(" 10.1.0.0/16, ::1/128,", "off")
    assert [str(inside.judge(a)) for a in ("10.1.2.3", "::1")] == ["10.1.2.3", "::1"]
    for other in ("10.2.0.1", "127.0.0.1", "::ffff:10.1.2.3", "::2"):
        with pytest.raises(Forbidden):
            inside.judge(other)
    with pytest.raises(Refused, match="ROLLO_WEBHOOKS_NETWORKS"):
        policy("10.1.0.1/16", "off")


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "ftp://example.org", "http://example.org/", "https://", "https:///x",
        "https://a b/",
        "https://user@example.org/", "https://u:p@example.org/", "https://example.org/#f",
        "https://ex\\ample/",
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest",
        "https://127.1/", "https://2130706433/", "https://example.org:0/",
        "https://example.org:99999/",
        "https://exämple.org/", "https://example..org/", "https://-a.org/",
        f"https://example.org/{'x' * 2000}",
        "https://example.org\r\nX: y/", "https://[fe80::1%25eth0]/",
    ],
)  # fmt: skip
def test_a_url_that_will_not_do_is_refused(url: str) -> None:
    with pytest.raises(Wrong):
        Policy().target(url)


def test_a_url_leads_to_a_host_and_port() -> None:
    target = Policy().target("https://Hooks.Example.org:8443/a/b?c=%20d")
    assert (target.secure, target.host, target.port) == (True, "hooks.example.org", 8443)
    assert (target.path, target.authority) == ("/a/b?c=%20d", "Hooks.Example.org:8443")
    plain = policy("127.0.0.0/8", "on").target("http://127.0.0.1")
    assert (plain.secure, plain.port, plain.path) == (False, 80, "/")


def test_a_receiver_can_check_the_signature_by_what_it_was_shown() -> None:
    secret, body = bytes(range(32)), b'{"a":1}'
    key = shown(secret)
    assert key.startswith("whsec_") and len(key) == 49
    expected = hmac.new(key.encode(), b"1700000000." + body, hashlib.sha256).hexdigest()
    assert signature(secret, 1_700_000_000, body) == f"v1={expected}"
    assert signature(secret, 1_700_000_001, body) != signature(secret, 1_700_000_000, body)


def _pattern(kind: str = "detected", **said: Any) -> bytes:
    pattern = {"symbol": "AAPL", "detected_at": "2026-01-05T11:00:00Z", "confirmed_at": None} | said
    return orjson.dumps({"type": f"pattern.{kind}", "id": "p", "fact_version": 3, "pattern": pattern})


def _newcomers(owner: str = "ada") -> bytes:
    entrants = [{"symbol": "AAPL"}, {"symbol": "XOM"}]
    told = {"type": "scan.new_entrants", "id": "s", "fact_version": 4, "owner": owner, "entrants": entrants}
    return orjson.dumps(told)


def test_a_webhook_is_told_of_what_its_owner_asked_for() -> None:
    pattern, newcomers = read(_pattern(), NOW), read(_newcomers(), NOW)
    assert pattern and newcomers
    everything = ("pattern.detected", "scan.new_entrants")
    assert Wish("ada", everything, None).has(pattern) and Wish("ada", everything, None).has(newcomers)
    assert not Wish("bob", everything, None).has(newcomers), "it belongs to somebody else"
    assert Wish("bob", everything, None).has(pattern)
    assert not Wish("ada", ("pattern.updated",), None).has(pattern)
    assert Wish("ada", everything, ["XOM"]).has(newcomers)
    assert not Wish("ada", everything, ["XOM"]).has(pattern)


def test_historical_facts_and_everything_else_are_not_for_webhooks() -> None:
    old = {"detected_at": "2026-01-04T11:59:00Z"}
    assert read(_pattern(**old), NOW) is None
    assert read(_pattern("expired", **old), NOW) is None
    assert read(_pattern(**old), NOW - timedelta(minutes=2)) is not None
    assert read(_pattern("updated", confirmed_at="2026-01-05T11:00:00Z", **old), NOW) is not None
    for other in (b"", None, b"{", b"[]", b'{"type":"rs.scored","id":"x"}', _pattern(detected_at="today")):
        assert read(other, NOW) is None


def test_pauses_double_up_to_an_hour_and_differ_by_chance() -> None:
    assert [pause_s(n, lambda: 1.0) for n in (1, 2, 3, 4)] == [2.0, 4.0, 8.0, 16.0]
    assert pause_s(1, lambda: 0.0) == FIRST_S / 2
    assert pause_s(10**6, lambda: 1.0) == LONGEST_S
