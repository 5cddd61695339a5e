"""The rules of the egress gate mean what a person reads in them, however an address or a name is written."""

from __future__ import annotations

import contextlib
import ipaddress
import struct
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncell import AccessDenied, OptionsError, Policy
from syncell.manifest import Manifest
from syncell.sandbox import dns, egress, grants
from syncell.sandbox.egress import Egress


def allows(rule: str, address: str, port: int, *names: str) -> bool:
    return Egress.of([rule]).allows(egress.unmapped(ipaddress.ip_address(address)), port, names)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("db.acme.com:5432", "db.acme.com:5432"),
        ("DB.Acme.COM.:5432", "db.acme.com:5432"),
        (" db:5432 ", "db:5432"),
        ("bücher.example:443", "xn--bcher-kva.example:443"),
        ("a_b.internal:1", "a_b.internal:1"),
        ("*.Acme.com:443", "*.acme.com:443"),
        ("*:443", "*:443"),
        ("db:*", "db:*"),
        ("db:8000-8010", "db:8000-8010"),
        ("db:1-65535", "db:*"),
        ("10.0.0.0/8:5432", "10.0.0.0/8:5432"),
        ("10.1.2.3/32:5432", "10.1.2.3:5432"),
        ("[::1]:443", "[::1]:443"),
        ("[2001:DB8::/32]:443", "[2001:db8::/32]:443"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ("[::ffff:10.0.0.0/104]:80", "10.0.0.0/8:80"),
        ("unix:/run//x/../y.sock", "unix:/run/y.sock"),
        ("unix:@name", "unix:@name"),
    ],
)
def test_a_rule_has_one_form_however_it_is_written(written: str, text: str) -> None:
    assert egress.parse(written).text == text
    assert egress.parse(text) == egress.parse(written)
    assert Policy(connect=[written]).connect == (text,)


@pytest.mark.parametrize(
    "text",
    [
        "", "db", "db:", ":5432", "db:0", "db:65536", "db:99999999", "db:9-1", "db:http", "db:-1", "db:1-2-3",
        "db:5432:1",
        "*", "a*.acme.com:1", "*.*.com:1", "db.*:1", "**:1", "-a:1", "a..b:1", "a b:1", "a/b:1", f"{'a' * 64}:1",
        "\0:1",
        "127.1:80", "0x7f000001:80", "2130706433:80", "1.2.3.4.5:80", "10.0.0.1/8:1", "10.0.0.0/33:1", "::1:443",
        "[::1]", "[::1:443", "[db]:443", "[fe80::1%eth0]:1", "[10.0.0.1]:1", "unix:", "unix:x", "unix:/", "unix:@",
        "unix:/a\0b",
        "http://db:80", "user@db:80",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|port"):
        Policy(connect=[text])


@given(st.text())
def test_no_text_breaks_the_reader_of_rules(text: str) -> None:
    for read in (egress.parse, egress.parse_option):
        with contextlib.suppress(ValueError):
            rule = read(text)
            assert egress.parse(rule.text) == rule


def test_one_place_instead_of_a_list_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a list of places"):
        Policy(connect="db:1")


@pytest.mark.parametrize(
    ("rule", "address", "port", "names", "allowed"),
    [
        ("db.acme.com:5432", "203.0.113.7", 5432, ["db.acme.com"], True),
        ("db.acme.com:5432", "203.0.113.7", 5433, ["db.acme.com"], False),
        ("db.acme.com:5432", "203.0.113.7", 5432, ["db.acme.com.evil.example"], False),
        ("db.acme.com:5432", "203.0.113.7", 5432, [], False),
        ("*.acme.com:443", "203.0.113.7", 443, ["a.b.acme.com"], True),
        ("*.acme.com:443", "203.0.113.7", 443, ["acme.com"], False),
        ("*.acme.com:443", "203.0.113.7", 443, ["evilacme.com"], False),
        ("db:8000-8010", "203.0.113.7", 8010, ["db"], True),
        ("db:8000-8010", "203.0.113.7", 8011, ["db"], False),
        ("*:443", "203.0.113.7", 443, [], True),
        ("10.0.0.0/8:5432", "10.255.0.1", 5432, [], True),
        ("10.0.0.0/8:5432", "::ffff:10.255.0.1", 5432, [], True),
        ("10.0.0.0/8:5432", "11.0.0.1", 5432, [], False),
        ("[2001:db8::/32]:443", "2001:db8::7", 443, [], True),
        ("[2001:db8::/32]:443", "2001:db9::7", 443, [], False),
        ("[::1]:443", "::1", 443, [], True),
        ("[::1]:443", "127.0.0.1", 443, [], False),
        ("127.0.0.1:443", "::ffff:127.0.0.1", 443, [], True),
        ("169.254.169.254:80", "169.254.169.254", 80, [], True),
        ("127.0.0.0/8:80", "127.9.9.9", 80, [], True),
        ("localhost:80", "127.0.0.1", 80, ["localhost"], True),
        ("localhost:80", "::1", 80, ["localhost"], True),
        ("localhost:80", "169.254.169.254", 80, ["localhost"], False),
        ("*.localhost:80", "127.0.0.1", 80, ["app.localhost"], True),
    ],
)
def test_a_rule_allows_what_it_says(rule: str, address: str, port: int, names: list[str], allowed: bool) -> None:
    assert allows(rule, address, port, *names) is allowed


LOCAL = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "169.254.169.254", "169.254.0.1", "224.0.0.1", "255.255.255.255",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "::1", "::", "fe80::1", "ff02::1", "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "::127.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", LOCAL)
@pytest.mark.parametrize("rule", ["db.acme.com:80", "*.acme.com:80", "*:80", "0.0.0.0/0:80", "[::/0]:80"])
def test_nothing_but_its_own_address_leads_to_a_local_one(rule: str, address: str) -> None:
    assert not allows(rule, address, 80, "db.acme.com")
    literal = egress.shown(egress.unmapped(ipaddress.ip_address(address)), 80)
    assert allows(literal, address, 80, "db.acme.com")


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_address_allows_itself_and_no_other(address: egress.Address, port: int) -> None:
    rules = Egress.of([egress.shown(address, port)])
    plain = egress.unmapped(address)
    assert rules.allows(plain, port, [])
    assert not rules.allows(plain + 1 if int(plain) < 2**31 else plain - 1, port, [])
    assert not rules.allows(plain, port % 65535 + 1, ["any"])


def test_a_dns_port_belongs_to_the_gate_unless_a_rule_names_it() -> None:
    server = ipaddress.ip_address("10.0.0.53")
    assert Egress.of(["10.0.0.0/8:*"]).is_resolver(server, 53, [])
    assert not Egress.of(["10.0.0.53:53"]).is_resolver(server, 53, [])
    assert not Egress.of(["10.0.0.0/8:*"]).is_resolver(server, 54, [])


@pytest.mark.parametrize(
    ("ours", "asked", "covered"),
    [
        ("*.acme.com:443", "api.acme.com:443", True), ("*.acme.com:443", "*.eu.acme.com:443", True),
        ("api.acme.com:443", "*.acme.com:443", False), ("*:443", "*.acme.com:443", True), ("*.com:443", "*:443", False),
        ("a:1-9", "a:2-3", True), ("a:2-3", "a:1-9", False), ("10.0.0.0/8:1", "10.1.0.0/16:1", True),
        ("10.1.0.0/16:1", "10.0.0.0/8:1", False), ("10.0.0.0/8:1", "[2001:db8::1]:1", False), ("*:1",
        "10.0.0.1:1", True),
        ("*:1", "127.0.0.1:1", False), ("*:1", "0.0.0.0/0:1", False), ("unix:/a", "unix:/a", True), ("*:1",
        "unix:/a", False),
        ("0.0.0.0/0:80", "169.254.169.254:80", False), ("0.0.0.0/0:1", "127.0.0.0/8:1", False),
        ("0.0.0.0/0:1", "10.0.0.1:1", True), ("0.0.0.0/0:1", "0.0.0.0/1:1", True),
        ("127.0.0.0/8:1", "127.0.0.1:1", True), ("[::/0]:1", "[::1]:1", False),
        ("[64:ff9b::/96]:1", "[64:ff9b::7f00:1]:1", False),
    ],
)  # fmt: skip
def test_what_a_manifest_asks_for_is_met_or_not(ours: str, asked: str, covered: bool) -> None:
    assert Egress.of([ours]).covers(egress.parse(asked)) is covered


def drawn(connect: list[str], options: Mapping[str, object], policy: Policy | None = None) -> tuple[str, ...]:
    manifest = Manifest(name="acme", syncer_class="Acme", permissions={"connect": connect})  # type: ignore[arg-type]
    drawing = grants.draw("acme", manifest, options, policy or Policy(), protected=())
    if drawing.refused:
        raise drawing.refused[0]
    return drawing.grants().connect


@pytest.mark.parametrize(
    ("template", "options", "granted"),
    [
        ("{host}:{port:5432}", {"host": "DB.acme.com"}, ["db.acme.com:5432"]),
        ("{host}:{port:5432}", {"host": "db", "port": 6000}, ["db:6000"]),
        ("{host}:{port:5432}", {"host": "::1"}, ["[::1]:5432"]),
        ("{host}:443", {"host": "10.0.0.1"}, ["10.0.0.1:443"]),
        ("{host}:{port:5432}", {}, []),
        ("{url}", {"url": "https://user:secret@api.acme.com/v1?x=1"}, ["api.acme.com:443"]),
        ("{url}", {"url": "postgresql+psycopg://u:p@db:6432/shop"}, ["db:6432"]),
        ("{url}", {"url": "http://[::1]:8080/"}, ["[::1]:8080"]),
        ("{address}", {"address": "db.acme.com:1"}, ["db.acme.com:1"]),
        ("{socket}", {"socket": "/run/x.sock"}, ["unix:/run/x.sock"]),
    ],
)
def test_an_option_grants_the_one_place_it_names(template: str, options: dict[str, object], granted: list[str]) -> None:
    assert list(drawn([template], options)) == granted


@pytest.mark.parametrize(
    "options",
    [{"host": "*"}, {"host": "*.com"}, {"host": "db", "port": "*"}, {"host": "db", "port": "1-9"},
    {"host": "10.0.0.0/8"},
     {"host": "a:1,b"}, {"host": "user@db"}, {"host": "127.1"}],
)  # fmt: skip
def test_an_option_is_taken_literally(options: dict[str, object]) -> None:
    with pytest.raises(OptionsError) as raised:
        drawn(["{host}:{port:5432}"], options)
    assert str(options["host"]) not in str(raised.value)


def test_a_default_of_the_manifest_widens_nothing() -> None:
    with pytest.raises(OptionsError):
        drawn(["{host}:{port:*}"], {"host": "db"})


@pytest.mark.parametrize("template", ["api.acme.com:443", "{account}.acme.com:443", "{host:api.acme.com}:443"])
def test_what_a_manifest_asks_for_must_be_allowed(template: str) -> None:
    options = {"account": "api"}
    with pytest.raises(AccessDenied, match=r"--allow-net api\.acme\.com:443") as raised:
        drawn([template], options)
    assert raised.value.allow == "Policy(connect=['api.acme.com:443'])"
    assert drawn([template], options, Policy(connect=["*.acme.com:443"])) == ("*.acme.com:443",)


def question(name: str, kind: int, number: int = 7) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">B2H", 0, kind, 1)


def test_an_answer_names_the_addresses_of_the_kind_that_was_asked_for() -> None:
    asked = dns.read(question("db.Acme.com", dns.A))
    assert (asked.name, asked.kind, asked.number) == ("db.Acme.com", dns.A, 7)
    both = [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("::1")]
    said = dns.answer(asked, both, 60)
    assert said == (
        bytes.fromhex("0007 8180 0001 0001 0000 0000")
        + question("db.Acme.com", dns.A)[12:]
        + bytes.fromhex("c00c 0001 0001 0000003c 0004 0a000001")
    )
    assert dns.refuse(asked, dns.NO_SUCH_NAME)[2:4] == b"\x81\x83"


@given(st.binary(max_size=300) | st.binary(max_size=40).map(lambda tail: question("a.b", 1)[:12] + tail))
def test_no_bytes_break_the_reader_of_questions(message: bytes) -> None:
    with contextlib.suppress(ValueError):
        asked = dns.read(message)
        assert dns.read(message[:12] + asked.text) == asked
