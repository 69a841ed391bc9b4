"""The messages of CRIU's remote procedure calls, as dictionaries: https://criu.org/RPC, images/rpc.proto.

They are protocol buffers, version 2: a field is a varint of number and wire type, and a varint (0) or a length and
bytes (2). A table names the fields of a message: number, and kind. `True` for a flag, `int` for a number, `str` for a
text, a table for a message; what is a list in the dictionary is repeated.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Table = dict[str, tuple[int, Any]]

# Kinds of request and response.
DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10

OPTIONS: Table = {
    "images_dir_fd": (1, int),
    "pid": (2, int),
    "leave_running": (3, bool),
    "ext_unix_sk": (4, bool),
    "tcp_established": (5, bool),
    "evasive_devices": (6, bool),
    "shell_job": (7, bool),
    "file_locks": (8, bool),
    "log_level": (9, int),
    "log_file": (10, str),
    "page_server": (11, {"address": (1, str), "port": (2, int)}),
    "notify_scripts": (12, bool),
    "root": (13, str),
    "parent_image": (14, str),
    "track_memory": (15, bool),
    "auto_dedup": (16, bool),
    "work_dir_fd": (17, int),
    "link_remap": (18, bool),
    "cgroup_roots": (25, {"controller": (1, str), "path": (2, str)}),
    "restore_sibling": (26, bool),
    "inherit_fds": (27, {"key": (1, str), "fd": (2, int)}),
    "manage_cgroups_mode": (34, int),
    "external": (37, str),
    "empty_namespaces": (38, int),
    "join_namespaces": (39, {"kind": (1, str), "path": (2, str)}),
    "freeze_cgroup": (44, str),
    "tcp_skip_in_flight": (46, bool),
    "lazy_pages": (48, bool),
    "status_fd": (49, int),
    "orphan_pts_master": (50, bool),
    "config_file": (51, str),
    "tcp_close": (52, bool),
    "lsm_profile": (53, str),
    "cgroup_yard": (60, str),
    "lsm_mount_context": (63, str),
    "network_lock": (64, int),
}
_FEATURES: Table = {"track_memory": (1, bool), "lazy_pages": (2, bool)}
REQUEST: Table = {
    "type": (1, int),
    "options": (2, OPTIONS),
    "notify_success": (3, bool),
    "features": (5, _FEATURES),
}
RESPONSE: Table = {
    "type": (1, int),
    "success": (2, bool),
    "restored": (4, {"pid": (1, int)}),
    "notify": (5, {"script": (1, str), "pid": (2, int)}),
    "errno": (7, int),
    "features": (8, _FEATURES),
    "message": (9, str),
    "version": (10, {"major": (1, int), "minor": (2, int), "sublevel": (4, int)}),
}


def encode(table: Table, values: dict[str, Any]) -> bytes:
    """The fields that are there; None is not."""
    parts = bytearray()
    for name, value in values.items():
        number, kind = table[name]
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                parts += _field(number, kind, each)
    return bytes(parts)


def _field(number: int, kind: Any, value: Any) -> bytes:
    if kind in (int, bool):
        return _varint(number << 3) + _varint(int(value) & 2**64 - 1)
    content = encode(kind, value) if isinstance(kind, dict) else value.encode("utf-8", "surrogateescape")
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def decode(table: Table, data: bytes) -> dict[str, Any]:
    """The fields that the table knows, none of them repeated. Raises ValueError."""
    names = {number: (name, kind) for name, (number, kind) in table.items()}
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value, at = _read_value(data, at, tag & 7)
        if tag >> 3 in names:
            name, kind = names[tag >> 3]
            found[name] = _typed(kind, value)
    return found


def _typed(kind: Any, value: int | bytes) -> Any:
    if isinstance(value, bytes):
        if isinstance(kind, dict):
            return decode(kind, value)
        if kind is str:
            return value.decode("utf-8", "surrogateescape")
    elif kind is bool:
        return bool(value)
    elif kind is int:
        return value - 2**64 if value >= 2**63 else value
    raise ValueError("a field of another type than expected")


def _read_value(data: bytes, at: int, wire: int) -> tuple[int | bytes, int]:
    if wire == 0:
        return _read_varint(data, at)
    if wire == 2:
        size, at = _read_varint(data, at)
    elif wire in (1, 5):
        size = 8 if wire == 1 else 4
    else:
        raise ValueError(f"unknown wire type {wire}")
    if at + size > len(data):
        raise ValueError("a field that is cut short")
    return data[at : at + size], at + size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number that is cut short")
