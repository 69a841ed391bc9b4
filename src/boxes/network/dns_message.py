"""Messages of the Domain Name System: as much as a forwarder needs. RFC 1035, section 4; RFC 6891 for EDNS."""

from __future__ import annotations

import struct
from struct import pack, unpack_from

A, CNAME, MX, TXT, AAAA, SRV, OPT = 1, 5, 15, 16, 28, 33, 41
IN = 1
NOERROR, FORMERR, SERVFAIL, NOTIMP, REFUSED = 0, 1, 2, 4, 5
_QR, _TC, _RD, _RA = 0x8000, 0x0200, 0x0100, 0x0080
_OPCODE, _RCODE = 0x7800, 0x000F
_HEADER = ">HHHHHH"
_POINTER = 0xC0
_QUESTION_AT = 12
UDP_SIZE = 1232  # bytes of an answer that no path breaks up: the DNS flag day of 2020
_SMALLEST = 512
_NAMES_AT = {CNAME: 0, MX: 2, SRV: 6}  # where the name is in the data of a record


class MalformedError(Exception):
    """Not a message of DNS, or none that is understood here."""


class Question:
    """What is asked. `name` is in lower case, `wire` as it was sent; `size` is how long an answer over UDP may be."""

    __slots__ = ("identity", "kind", "name", "recursive", "size", "wire", "with_edns")

    def __init__(self, data: bytes) -> None:
        try:
            self.identity, flags, questions, answers, authorities, more = unpack_from(_HEADER, data)
            if flags & (_QR | _OPCODE) or (questions, answers, authorities) != (1, 0, 0):
                raise MalformedError("not one plain question")
            self.name, end = _name(data, _QUESTION_AT)
            self.kind, kind_of_class = unpack_from(">HH", data, end)
            if kind_of_class != IN:
                raise MalformedError("not of the Internet's class")
            self.wire = data[_QUESTION_AT : end + 4]
            self.recursive = flags & _RD
            self.size, self.with_edns = _SMALLEST, False
            if more and data[end + 4 : end + 7] == pack(">BH", 0, OPT):
                self.with_edns = True
                self.size = min(max(_SMALLEST, unpack_from(">H", data, end + 7)[0]), 4096)
        except (struct.error, IndexError):
            raise MalformedError("cut off") from None


class Record:
    """One of an answer. The data has its names in full. `name` is in lower case, `target` the one that a CNAME has."""

    __slots__ = ("data", "kind", "name", "target", "ttl")

    def __init__(self, name: str, kind: int, ttl: int, data: bytes, target: str = "") -> None:
        self.name = name
        self.kind = kind
        self.ttl = ttl
        self.data = data
        self.target = target


class Answer:
    """What a server says to a question: `code`, whether it was cut off, and the records that answer."""

    def __init__(self, question: Question, identity: int, data: bytes) -> None:
        try:
            self._parse(question, identity, data)
        except (struct.error, IndexError):
            raise MalformedError("cut off") from None

    def _parse(self, question: Question, identity: int, data: bytes) -> None:
        found, flags, questions, answers, _, _ = unpack_from(_HEADER, data)
        name, at = _name(data, _QUESTION_AT)
        kind = unpack_from(">HH", data, at)
        if (found, questions, name, kind) != (identity, 1, question.name, (question.kind, IN)) or not flags & _QR:
            raise MalformedError("not the answer to this question")
        self.code = flags & _RCODE
        self.cut_off = bool(flags & _TC)
        self.records: list[Record] = []
        at += 4
        for _ in range(0 if self.cut_off else answers):
            record, at = _record(data, at)
            if record is not None:
                self.records.append(record)


def query(question: Question, identity: int) -> bytes:
    """The same question in our own words: nothing of what a container sent but name and kind goes further."""
    head = pack(_HEADER, identity, _RD, 1, 0, 0, 1)
    return head + _encoded(question.name) + pack(">HH", question.kind, IN) + _edns()


def response(question: Question, code: int, records: list[Record], *, stream: bool = False) -> bytes:
    """What the container gets; cut off if it is too long for a datagram."""
    edns = _edns() if question.with_edns else b""
    flags = _QR | _RA | question.recursive | code
    owner = {question.name: pack(">H", _POINTER << 8 | _QUESTION_AT)}
    listed = b"".join(_listed(record, owner) for record in records)
    tail = question.wire + listed + edns
    if not stream and 12 + len(tail) > question.size:
        flags, listed, tail = flags | _TC, b"", question.wire + edns
    count = len(records) if listed else 0
    return pack(_HEADER, question.identity, flags, 1, count, 0, len(edns) and 1) + tail


def failure(data: bytes, code: int) -> bytes:
    """The answer to what is no question; nothing if it may be an answer itself."""
    if len(data) < 12 or data[2] & 0x80:
        return b""
    flags = _QR | (unpack_from(">H", data, 2)[0] & (_OPCODE | _RD)) | code
    return data[:2] + pack(">HHHHH", flags, 0, 0, 0, 0)


def chain(question: Question, records: list[Record]) -> list[Record]:
    """The records that answer the question: its own, and those of the names that it is another name for."""
    names = {question.name}
    found: list[Record] = []
    for _ in range(len(records) + 1):  # in whatever order they come
        targets = {record.target for record in records if record.kind == CNAME and record.name in names}
        if targets <= names:
            break
        names |= targets
    for record in records:
        if record.name in names and record.kind in (question.kind, CNAME):
            found.append(record)
    return found


def _listed(record: Record, owner: dict[str, bytes]) -> bytes:
    name = owner.get(record.name) or _encoded(record.name)
    return name + pack(">HHIH", record.kind, IN, record.ttl, len(record.data)) + record.data


def _edns() -> bytes:
    return pack(">BHHIH", 0, OPT, UDP_SIZE, 0, 0)


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name in lower case, and where what follows begins. Pointers lead backwards only, so that there is an end."""
    labels: list[str] = []
    length, end, before = 0, -1, at
    while data[at]:
        size = data[at]
        if size & _POINTER == _POINTER:
            target = (size & 0x3F) << 8 | data[at + 1]
            end = at + 2 if end < 0 else end
            if target >= before:
                raise MalformedError("a pointer that leads nowhere")
            at = before = target
            continue
        label = data[at + 1 : at + 1 + size]
        length += size + 1
        if size > 63 or length > 254 or len(label) < size:
            raise MalformedError("a name that is too long")
        labels.append(_text(label))
        at += 1 + size
    return ".".join(labels), (at + 1 if end < 0 else end)


def _text(label: bytes) -> str:
    """In a form that can be compared and printed: a dot within a label is not one between labels."""
    text = "".join(chr(byte) if 0x21 <= byte < 0x7F and byte not in b".\\" else f"\\{byte:03d}" for byte in label)
    return text.lower()


def _encoded(name: str) -> bytes:
    if not name:
        return b"\0"
    labels = [_bytes(label) for label in name.split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _bytes(label: str) -> bytes:
    first, *rest = label.split("\\")
    return first.encode() + b"".join(bytes([int(part[:3])]) + part[3:].encode() for part in rest)


def _record(data: bytes, at: int) -> tuple[Record | None, int]:
    name, at = _name(data, at)
    kind, kind_of_class, ttl, size = unpack_from(">HHIH", data, at)
    at += 10
    end = at + size
    if end > len(data):
        raise MalformedError("cut off")
    if kind_of_class != IN or kind not in (A, AAAA, CNAME, MX, TXT, SRV):
        return None, end
    content, target = data[at:end], ""
    if kind in _NAMES_AT:
        target, _ = _name(data, at + _NAMES_AT[kind])
        content = data[at : at + _NAMES_AT[kind]] + _encoded(target)
    if len(content) != {A: 4, AAAA: 16}.get(kind, len(content)):
        raise MalformedError("an address of another size")
    return Record(name, kind, ttl if ttl < 1 << 31 else 0, content, target), end
