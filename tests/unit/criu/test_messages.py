"""The messages of CRIU's remote procedure calls, byte for byte."""

from __future__ import annotations

import pytest

from boxes.criu import log
from boxes.criu.messages import OPTIONS, REQUEST, RESPONSE, decode, encode


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({}, b""),
        ({"images_dir_fd": 5}, b"\x08\x05"),
        ({"pid": 300}, b"\x10\xac\x02"),
        ({"leave_running": True, "ext_unix_sk": False}, b"\x18\x01\x20\x00"),
        ({"images_dir_fd": -1}, b"\x08" + b"\xff" * 9 + b"\x01"),
        ({"root": "/r"}, b"\x6a\x02/r"),
        ({"root": None}, b""),
        ({"external": ["a", "bc"]}, b"\xaa\x02\x01a\xaa\x02\x02bc"),
        ({"inherit_fds": [{"key": "k", "fd": 4}]}, b"\xda\x01\x05\x0a\x01k\x10\x04"),
        ({"network_lock": 3}, b"\x80\x04\x03"),
        ({"root": "\udcff"}, b"\x6a\x01\xff"),
    ],
)
def test_options(message: dict[str, object], expected: bytes) -> None:
    assert encode(OPTIONS, message) == expected


def test_a_request_holds_its_options() -> None:
    assert encode(REQUEST, {"type": 1, "options": {"pid": 7}}) == b"\x08\x01\x12\x02\x10\x07"


def test_a_response_is_read_and_what_is_unknown_is_passed_over() -> None:
    data = b"\x08\x06\x10\x01\x2a\x08\x0a\x04\x70\x6f\x73\x74\x10\x05" + b"\x7a\x01x" + b"\x81\x02" + b"\0" * 8
    assert decode(RESPONSE, data) == {"type": 6, "success": True, "notify": {"script": "post", "pid": 5}}
    assert decode(RESPONSE, b"\x38" + b"\xff" * 9 + b"\x01") == {"errno": -1}


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x08\xff", b"\x2a\x09\x0a", b"\x0b", b"\x0a\x01x", b"\x28\x01", b"\xff" * 20]
)
def test_what_is_cut_short_or_of_another_kind(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|wire type|another type"):
        decode(RESPONSE, data)


def test_the_last_errors_of_a_log() -> None:
    text = (
        "(00.1) Warn  (criu/a.c:1): not this\n"
        "(00.2) Error (criu/a.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
        "(00.2) Error (criu/a.c:1): first\n"
        "(00.3)     12: Error (criu/sk-inet.c:191): inet: Connected TCP socket\n"
        "(00.4) Error (criu/cr-dump.c:1): Dumping FAILED.\n"
    )
    assert log.messages(text) == ["first", "inet: Connected TCP socket"]
    assert log.messages("(00.4) Error (criu/cr-dump.c:1): Dumping FAILED.") == ["Dumping FAILED."]
    assert log.messages("") == []
