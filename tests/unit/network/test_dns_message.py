"""Messages of DNS: what is understood, what is refused, and that nothing makes the reader hang or crash."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxes.network import dns_message as dns
from tests.support.dns import encoded, question


def answer(asked: dns.Question, *records: bytes, flags: int = 0x8180, identity: int = 9) -> bytes:
    head = struct.pack(">HHHHHH", identity, flags, 1, len(records), 0, 0)
    return head + encoded(asked.name) + struct.pack(">HH", asked.kind, 1) + b"".join(records)


def record(name: bytes, kind: int, data: bytes, ttl: int = 60) -> bytes:
    return name + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


ASKED = dns.Question(question("example.org"))
OWN = b"\xc0\x0c"


def test_question_is_read() -> None:
    asked = dns.Question(question("ExAmple.ORG", "AAAA", 77))
    assert (asked.name, asked.kind, asked.identity, asked.size, asked.with_edns) == ("example.org", 28, 77, 512, False)
    assert asked.wire.startswith(b"\x07ExAmple\x03ORG\0")


def test_size_comes_with_edns() -> None:
    plain = question("example.org")
    edns = plain[:10] + b"\0\1" + plain[12:] + struct.pack(">BHHIH", 0, 41, 1400, 0, 0)
    assert (dns.Question(edns).size, dns.Question(edns).with_edns) == (1400, True)


def test_label_with_a_dot_is_not_two_labels() -> None:
    data = question("x")[:12] + b"\x0bexample.org\0" + struct.pack(">HH", 1, 1)
    asked = dns.Question(data)
    assert asked.name == "example\\046org"
    assert dns.query(asked, 1)[12:25] == b"\x0bexample.org\0"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 11, b"\0" * 12, question("a")[:-1], question("a")[:-4] + b"\0\1\0\3",
        struct.pack(">HHHHHH", 1, 0x8100, 1, 0, 0, 0) + question("a")[12:],  # an answer
        struct.pack(">HHHHHH", 1, 0x2800, 1, 0, 0, 0) + question("a")[12:],  # an update
        struct.pack(">HHHHHH", 1, 0x100, 2, 0, 0, 0) + question("a")[12:] * 2,
        struct.pack(">HHHHHH", 1, 0x100, 1, 1, 0, 0) + question("a")[12:],
        question("a")[:12] + b"\xc0\x0c\0\1\0\1",  # a name that is its own
        question("a")[:12] + b"\xc0\x20\0\1\0\1",  # one that comes later
        question("a")[:12] + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1",
        question("a")[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
    ],
)  # fmt: skip
def test_what_is_no_plain_question_is_refused(data: bytes) -> None:
    with pytest.raises(dns.MalformedError):
        dns.Question(data)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_read(data: bytes) -> None:
    for read in (dns.Question, lambda noise: dns.Answer(ASKED, 9, noise)):
        try:
            read(data)
        except dns.MalformedError:
            pass


@given(st.binary(max_size=120), st.integers(0, 6))
def test_noise_after_a_good_beginning_is_refused_or_read(noise: bytes, count: int) -> None:
    head = struct.pack(">HHHHHH", 9, 0x8180, 1, count, 0, 0)
    data = head + encoded("example.org") + struct.pack(">HH", 1, 1) + noise
    try:
        found = dns.Answer(ASKED, 9, data)
    except dns.MalformedError:
        return
    dns.response(ASKED, 0, dns.chain(ASKED, found.records), stream=True)


def test_records_of_the_chain_are_kept_in_any_order() -> None:
    data = answer(
        ASKED,
        record(encoded("c.net"), 1, b"\1\2\3\4"),
        record(encoded("b.net"), 5, encoded("c.net")),
        record(OWN, 5, encoded("b.net")),
        record(encoded("evil.net"), 1, b"\6\6\6\6"),
        record(OWN, 99, b"spf"),
    )
    kept = dns.chain(ASKED, dns.Answer(ASKED, 9, data).records)
    assert [(each.name, each.kind) for each in kept] == [("c.net", 1), ("b.net", 5), ("example.org", 5)]


def test_chain_that_goes_round_ends() -> None:
    data = answer(ASKED, record(OWN, 5, encoded("b.net")), record(encoded("b.net"), 5, encoded("example.org")))
    assert len(dns.chain(ASKED, dns.Answer(ASKED, 9, data).records)) == 2


@pytest.mark.parametrize(
    ("identity", "flags", "name"), [(8, 0x8180, "example.org"), (9, 0x0180, "example.org"), (9, 0x8180, "example.net")]
)
def test_answer_to_another_question_is_none(identity: int, flags: int, name: str) -> None:
    other = dns.Question(question(name))
    with pytest.raises(dns.MalformedError):
        dns.Answer(ASKED, 9, answer(other, flags=flags, identity=identity))


def test_response_is_what_a_resolver_reads() -> None:
    found = dns.Answer(
        ASKED, 9, answer(ASKED, record(OWN, 5, encoded("b.net")), record(encoded("b.net"), 1, b"\1\2\3\4"))
    )
    data = dns.response(ASKED, dns.NOERROR, found.records)
    again = dns.Answer(ASKED, ASKED.identity, data)
    assert [(each.name, each.target, each.data[-4:]) for each in again.records][1] == ("b.net", "", b"\1\2\3\4")
    assert again.records[0].target == "b.net"
    assert data[2] & 0x80


def test_what_is_too_long_is_cut_off() -> None:
    records = [dns.Record("example.org", 1, 60, bytes([1, 2, 3, number])) for number in range(100)]
    short = dns.response(ASKED, dns.NOERROR, records)
    assert len(short) <= 512
    assert short[2] & 0x02
    assert len(dns.response(ASKED, dns.NOERROR, records, stream=True)) > 1600


def test_noise_gets_an_error_and_answers_get_nothing() -> None:
    assert dns.failure(b"short", dns.FORMERR) == b""
    assert dns.failure(struct.pack(">HHHHHH", 5, 0x8100, 0, 0, 0, 0), dns.FORMERR) == b""
    assert dns.failure(struct.pack(">HHHHHH", 5, 0x0100, 0, 0, 0, 0), dns.FORMERR)[:4] == b"\0\5\x81\1"


def test_query_has_nothing_else_of_what_was_sent() -> None:
    data = question("ExAmple.org")
    asked = dns.Question(data[:2] + b"\x01\x30" + data[4:])
    assert dns.query(asked, 3) == (
        struct.pack(">HHHHHH", 3, 0x0100, 1, 0, 0, 1)
        + encoded("example.org")
        + b"\0\1\0\1"
        + b"\0\0\x29\x04\xd0"
        + bytes(6)
    )
