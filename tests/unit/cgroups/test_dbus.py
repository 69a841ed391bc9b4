"""D-Bus messages, checked against another implementation; and that no bytes do more harm than an error."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jeepney import DBusAddress, Message, Parser, new_method_call  # type: ignore[import-untyped]  # it has no types
from jeepney.low_level import HeaderFields  # type: ignore[import-untyped]  # it has no types

from boxes.cgroups import dbus
from boxes.cgroups.dbus import MalformedError, Variant

# A busy machine is no reason to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

FIELDS = {"path": "/a", "interface": "b.c", "member": "D", "destination": "e.f"}
ADDRESS = DBusAddress("/a", bus_name="e.f", interface="b.c")

VALUES: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = [
    ("y", (255,), (255,)),
    ("b", (True,), (True,)),
    ("nqiuxt", (-1, 1, -2, 2, -3, 3), (-1, 1, -2, 2, -3, 3)),
    ("ybt", (1, False, 1 << 63), (1, False, 1 << 63)),
    ("d", (0.5,), (0.5,)),
    ("sog", ("hé", "/a/b", "a{sv}"), ("hé", "/a/b", "a{sv}")),
    ("as", (["a", "", "ccc"],), (["a", "", "ccc"],)),
    ("ay", (b"\1\2",), (b"\1\2",)),
    ("a(ss)", ([("a", "b")],), ([("a", "b")],)),
    ("at", ([],), ([],)),
    ("ya(tt)", (1, []), (1, [])),
    ("(y(tb))", ((1, (2, True)),), ((1, (2, True)),)),
    ("a(sv)", ([("x", Variant("t", 5))],), ([("x", ("t", 5))],)),
    ("v", (Variant("a(st)", [("/dev/x", 7)]),), (("a(st)", [("/dev/x", 7)]),)),
    (
        "ssa(sv)a(sa(sv))",
        ("x.scope", "fail", [("PIDs", Variant("au", [1, 2]))], []),
        ("x.scope", "fail", [("PIDs", ("au", [1, 2]))], []),
    ),
]


def plain(value: Any) -> Any:
    """As jeepney has variants: pairs of a signature and a value."""
    if isinstance(value, Variant):
        return value.signature, plain(value.value)
    if isinstance(value, list | tuple):
        return type(value)(plain(each) for each in value)
    return value


def jeepneys(signature: str, values: tuple[Any, ...], serial: int = 7) -> bytes:
    return bytes(new_method_call(ADDRESS, "D", signature, values).serialise(serial=serial))


@pytest.mark.parametrize(("signature", "ours", "theirs"), VALUES, ids=[row[0] for row in VALUES])
class TestAgainstAnother:
    def test_it_reads_what_we_write(self, signature: str, ours: Any, theirs: Any) -> None:
        parser = Parser()
        parser.add_data(dbus.encode(dbus.CALL, 7, FIELDS, signature, ours))
        message = parser.get_next_message()
        assert isinstance(message, Message)
        assert message.body == theirs
        assert message.header.serial == 7
        assert message.header.fields[HeaderFields.signature] == signature
        assert message.header.fields[HeaderFields.destination] == "e.f"

    def test_we_read_what_it_writes(self, signature: str, ours: Any, theirs: Any) -> None:
        message = dbus.decode(jeepneys(signature, theirs))
        assert message.fields == FIELDS | {"signature": signature}
        assert plain(tuple(message.values())) == theirs


def test_size_is_known_from_the_first_bytes() -> None:
    data = dbus.encode(dbus.CALL, 1, FIELDS, "s", ("x" * 100,))
    assert dbus.size(data[:16]) == len(data)


def test_the_other_byte_order_is_read() -> None:
    fields = b"\5\1u\0" + struct.pack(">I", 9) + b"\x08\1g\0\1u\0"
    head = b"B\2\0\1" + struct.pack(">III", 4, 3, len(fields)) + fields
    message = dbus.decode(head + bytes(-len(head) % 8) + struct.pack(">I", 77))
    assert message.fields["reply_serial"] == 9
    assert message.values() == [77]


@pytest.mark.parametrize(
    ("signature", "expected"),
    [("", []), ("s", ["s"]), ("a{sv}us", ["a{sv}", "u", "s"]), ("a(s(ii))aas", ["a(s(ii))", "aas"])],
)
def test_signatures_are_split(signature: str, expected: list[str]) -> None:
    assert dbus.split(signature) == expected


@pytest.mark.parametrize(
    "signature", ["a", "(", "()", "(i", "i)", "{sv}", "a{s}", "a{vs}", "a{svs}", "z", "a" * 200, "(" * 100]
)
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(MalformedError):
        dbus.split(signature)


@pytest.mark.parametrize(
    ("signature", "value"), [("y", 256), ("u", -1), ("t", 1 << 64), ("i", "1"), ("b", 1), ("u", 1.5), ("s", "a\0b")]
)
def test_values_of_another_type_are_not_written(signature: str, value: object) -> None:
    with pytest.raises(MalformedError):
        dbus.encode(dbus.CALL, 1, FIELDS, signature, (value,))


def answer(body: bytes, signature: str) -> dbus.Message:
    return dbus.Message(dbus.REPLY, 1, {"signature": signature}, body)


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        ("s", b"\xff\xff\xff\xff"),
        ("s", b"\1\0\0\0ab"),
        ("s", b"\1\0\0\0\xff\0"),
        ("s", b"\2\0\0\0a\0\0"),
        ("as", b"\xff\xff\xff\x7f"),
        ("at", b"\x08\0\0\0\1\0\0\0" + bytes(8)),
        ("ai", b"\2\0\0\0\1\0"),
        ("b", b"\2\0\0\0"),
        ("u", b"\1\0\0\0\0"),
        ("v", b"\2ss\0\0"),
        ("v", b"\0\0"),
        ("v", b"\1v\0" * 100 + b"\1y\0\0"),
        ("yt", b"\1" + b"\1" * 7 + bytes(8)),
    ],
)
def test_malformed_bodies_are_refused(signature: str, body: bytes) -> None:
    with pytest.raises(MalformedError):
        answer(body, signature).values()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"x" + data[1:],
        lambda data: data[:3] + b"\2" + data[4:],
        lambda data: data[:1] + b"\0" + data[2:],
        lambda data: data[:8] + bytes(4) + data[12:],
        lambda data: data[:4] + b"\xff\xff\xff\xff" + data[8:],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:12] + b"\xf0" + data[13:],
    ],
)
def test_malformed_headers_are_refused(change: Any) -> None:
    data = dbus.encode(dbus.CALL, 1, FIELDS, "s", ("x",))
    with pytest.raises(MalformedError):
        dbus.decode(change(data))


def test_a_message_without_what_its_type_needs_is_refused() -> None:
    with pytest.raises(MalformedError, match="without 'member'"):
        dbus.decode(dbus.encode(dbus.CALL, 1, {"path": "/"}))


def read(data: bytes) -> None:
    try:
        dbus.decode(data).values()
    except MalformedError:
        pass


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(data: bytes) -> None:
    read(data)


@given(st.data())
def test_no_change_of_a_message_does_harm(data: st.DataObject) -> None:
    whole = bytearray(dbus.encode(dbus.CALL, 1, FIELDS, "ssa(sv)", ("a", "b", [("c", Variant("as", ["d", "e"]))])))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(whole))


@given(st.text(max_size=20), st.binary(max_size=100))
def test_no_body_of_any_type_does_harm(signature: str, body: bytes) -> None:
    try:
        answer(body, signature).values()
    except MalformedError:
        pass


SIGNATURES = st.recursive(
    st.sampled_from("ybnqiuxtdsog"),
    lambda inner: st.one_of(
        inner.map(lambda each: f"a{each}"), st.lists(inner, min_size=1, max_size=3).map(lambda all: f"({''.join(all)})")
    ),
    max_leaves=6,
)
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 255),
    "b": st.booleans(),
    "n": st.integers(-(1 << 15), (1 << 15) - 1),
    "q": st.integers(0, (1 << 16) - 1),
    "i": st.integers(-(1 << 31), (1 << 31) - 1),
    "u": st.integers(0, (1 << 32) - 1),
    "x": st.integers(-(1 << 63), (1 << 63) - 1),
    "t": st.integers(0, (1 << 64) - 1),
    "d": st.floats(allow_nan=False),
    "s": st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9),
    "o": st.just("/a/b"),
    "g": st.sampled_from(["", "s", "a{sv}"]),
}


def value_of(signature: str) -> st.SearchStrategy[Any]:
    if signature == "ay":
        return st.binary(max_size=9)
    if signature[0] == "a":
        return st.lists(value_of(signature[1:]), max_size=3)
    if signature[0] == "(":
        return st.tuples(*(value_of(each) for each in dbus.split(signature[1:-1])))
    return LEAVES[signature]


@given(st.data())
def test_values_come_back_and_another_reads_the_same(data: st.DataObject) -> None:
    signature = data.draw(SIGNATURES)
    value = data.draw(value_of(signature))
    whole = dbus.encode(dbus.CALL, 1, FIELDS, signature, (value,))
    assert dbus.decode(whole).values() == [value]
    parser = Parser()
    parser.add_data(whole)
    message = parser.get_next_message()
    assert message is not None and message.body == (value,)
