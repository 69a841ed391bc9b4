"""Device rules for the kernel: lines for devices.allow and devices.deny (v1), an eBPF program (v2)."""

from __future__ import annotations

import errno
from _struct import pack, unpack_from

from boxes import system as os
from boxes.errors import ConfigError
from boxes.linux import _syscalls as native
from boxes.linux.syscalls import rendered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boxes.cgroups.settings import DeviceRule, DeviceRules

# <linux/bpf.h>
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_GET_INFO, _PROG_QUERY = 5, 8, 9, 13, 15, 16
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE = 15, 6
_ALLOW_MULTI, _REPLACE = 2, 4
_NAME = b"boxes_devices"  # seen in `bpftool prog`
_INFO_SIZE, _INFO_NAME = 80, slice(64, 80)  # struct bpf_prog_info as far as its name
_KIND = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR

# <linux/bpf_common.h>: an instruction's code is its class, its operation and where the operand comes from.
_LOAD = 0x61  # LDX | MEM | W
_MOVE, _MOVE_REGISTER = 0xB4, 0xBC  # ALU (32 bits) | MOV | K, X
_AND, _SHIFT_RIGHT = 0x54, 0x74  # ALU | AND | K, ALU | RSH | K
_IF_NOT_EQUAL, _IF_EQUAL = 0x56, 0x16  # JMP32 | JNE | K, JMP32 | JEQ | K; Linux 5.1
_EXIT = 0x95
# The registers: the result, struct bpf_cgroup_dev_ctx, what is read of that, and one to calculate in.
_RESULT, _CONTEXT, _DEVICE_KIND, _ACCESS, _MAJOR, _MINOR, _SCRATCH = 0, 1, 2, 3, 4, 5, 6


def lines(rules: DeviceRules) -> tuple[list[tuple[str, str]], list[str]]:
    """The (file, line)s to write to v1, which keeps one default and a list of exceptions from it.

    Then come the lines for devices.allow which nobody asked for; if the parent may not use such a device, nor may we.
    ConfigError where a rule takes away a part of what an earlier one gave (or gives back a part of what was taken):
    v1 has no exceptions from exceptions, and ignores the attempt.
    """
    exceptions: list[tuple[DeviceRule, int]] = []
    for rule in rules.rules:
        if rule.allow is rules.allow:
            exceptions = _without(exceptions, rule)
        else:
            exceptions.append((rule, rule.access))
    base = [(rule, rule.access) for rule in rules.base]
    for rule in rules.rules:
        if not rule.allow:
            base = [(kept, access & ~rule.access if rule.meets(kept) else access) for kept, access in base]
    base = [(rule, access) for rule, access in base if not _given(exceptions, rule, access)]
    first, second = ("devices.allow", "devices.deny") if rules.allow else ("devices.deny", "devices.allow")
    written = [(second, rule.line(access)) for rule, access in exceptions if access]
    return [(first, "a"), *written], [rule.line(access) for rule, access in base if access]


def _given(exceptions: list[tuple[DeviceRule, int]], rule: DeviceRule, access: int) -> bool:
    """Whether one of the exceptions says the same as `rule`: then it need not be written twice."""
    return any(given.covers(rule) and access & ~granted == 0 for given, granted in exceptions)


def _without(exceptions: list[tuple[DeviceRule, int]], rule: DeviceRule) -> list[tuple[DeviceRule, int]]:
    kept = []
    for exception, access in exceptions:
        if rule.covers(exception):
            access &= ~rule.access
        elif rule.meets(exception) and access & rule.access:
            text = f"cgroup v1 cannot except '{rule.line(rule.access)}' from the earlier '{exception.line(access)}'"
            raise ConfigError(text, pointer=rule.pointer)
        kept.append((exception, access))
    return kept


def program(rules: DeviceRules) -> bytes:
    """The instructions of a BPF_PROG_TYPE_CGROUP_DEVICE program: it returns 1 to allow an access and 0 to deny it.

    The rules are asked from the last to the first. One which allows strikes its accesses off those asked for, and
    nothing left to ask for is a yes; one which denies any of those left is a no.
    """
    code = [
        _instruction(_LOAD, _DEVICE_KIND, _CONTEXT, offset=0),
        _instruction(_MOVE_REGISTER, _ACCESS, _DEVICE_KIND),
        _instruction(_AND, _DEVICE_KIND, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, value=16),
        _instruction(_LOAD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD, _MINOR, _CONTEXT, offset=8),
    ]
    for rule in reversed([*rules.base, *rules.rules]):
        code += _tests(rule, _verdict(rule))
    return b"".join([*code, *_return(rules.allow)])


def attach(cgroup: int, code: bytes, *, fresh: bool, keep: bool = False) -> None:
    """Load a program and make it the one device program of a cgroup, or if others' are to be kept, the one of ours.

    `fresh` says that the cgroup has none to replace. Otherwise the old one is replaced without a moment in between
    (BPF_F_REPLACE, Linux 5.6). A cgroup above keeps its own: an access needs the consent of all.
    """
    # bpf(2) takes no O_PATH descriptor.
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=cgroup)
    opened = [directory]
    try:
        opened.append(loaded := _load(code))
        found = [] if fresh else _attached(directory)
        opened += found
        old = [fd for fd in found if not keep or _is_ours(fd)]
        if len(old) == 1:
            return _attach(directory, loaded, _ALLOW_MULTI | _REPLACE, old[0])
        _attach(directory, loaded, _ALLOW_MULTI, 0)
        for fd in old:
            _bpf("BPF_PROG_DETACH", _PROG_DETACH, bytearray(pack("=III", directory, fd, _ATTACH_CGROUP_DEVICE)))
    finally:
        for fd in opened:
            os.close(fd)


def _verdict(rule: DeviceRule) -> list[bytes]:
    if rule.allow:
        return [
            _instruction(_AND, _ACCESS, value=~rule.access & 7),
            _instruction(_IF_NOT_EQUAL, _ACCESS, offset=2, value=0),
            *_return(True),
        ]
    return [
        _instruction(_MOVE_REGISTER, _SCRATCH, _ACCESS),
        _instruction(_AND, _SCRATCH, value=rule.access),
        _instruction(_IF_EQUAL, _SCRATCH, offset=2, value=0),
        *_return(False),
    ]


def _tests(rule: DeviceRule, verdict: list[bytes]) -> list[bytes]:
    """The instructions of `verdict`, jumped over unless the device is of the rule's kind and numbers."""
    wanted = [(_DEVICE_KIND, _KIND[rule.kind]), (_MAJOR, rule.major), (_MINOR, rule.minor)]
    tests = [(register, number) for register, number in wanted if number is not None]
    end = len(tests) + len(verdict)
    jumps = [
        _instruction(_IF_NOT_EQUAL, register, offset=end - at - 1, value=number)
        for at, (register, number) in enumerate(tests)
    ]
    return jumps + verdict


def _return(allow: bool) -> list[bytes]:
    return [_instruction(_MOVE, _RESULT, value=int(allow)), _instruction(_EXIT)]


def _instruction(code: int, target: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn, little-endian; the value is 32 bits and unsigned, as the 32-bit operations take it."""
    return pack("<BBhI", code, target | source << 4, offset, value)


def _load(code: bytes) -> int:
    licence = b"Apache-2.0\0"
    # kern_version, prog_flags and the log are zero.
    program = (_TYPE_CGROUP_DEVICE, len(code) // 8, native.address(code), native.address(licence))
    attributes = pack("=IIQQIIQII16s", *program, 0, 0, 0, 0, 0, _NAME)
    for _ in range(30):
        try:
            return _bpf("BPF_PROG_LOAD", _PROG_LOAD, bytearray(attributes))
        except InterruptedError:
            continue
        except BlockingIOError:
            continue  # EAGAIN: a signal interrupted the verifier
        except PermissionError:
            return _load_unlimited(bytearray(attributes))
    return _bpf("BPF_PROG_LOAD", _PROG_LOAD, bytearray(attributes))


def _load_unlimited(attributes: bytearray) -> int:
    """COMPAT(linux<5.11): programs counted against RLIMIT_MEMLOCK, which the container would inherit: so only here."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return _bpf("BPF_PROG_LOAD", _PROG_LOAD, attributes)
    try:
        return _bpf("BPF_PROG_LOAD", _PROG_LOAD, attributes)
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)


def _attach(cgroup: int, loaded: int, flags: int, replaced: int) -> None:
    attributes = bytearray(pack("=IIIII", cgroup, loaded, _ATTACH_CGROUP_DEVICE, flags, replaced))
    _bpf("BPF_PROG_ATTACH", _PROG_ATTACH, attributes)


def _attached(cgroup: int) -> list[int]:
    """Descriptors of the device programs of a cgroup; one that a security module hides is passed over."""
    ids = bytearray(4 * 64)  # the kernel attaches at most 64
    # The whole structure: Linux 6.17 to 7.1 write its last field, whatever size they are told.
    query = (cgroup, _ATTACH_CGROUP_DEVICE, 0, 0, native.address(ids), 64)
    attributes = bytearray(pack("=IIIIQIIQQQQ", *query, 0, 0, 0, 0, 0))
    _bpf("BPF_PROG_QUERY", _PROG_QUERY, attributes)
    (count,) = unpack_from("=I", attributes, 24)
    fds = []
    for number in unpack_from(f"={count}I", ids):
        try:
            fds.append(_bpf("BPF_PROG_GET_FD_BY_ID", _PROG_GET_FD_BY_ID, bytearray(pack("=III", number, 0, 0))))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT):
                for fd in fds:
                    os.close(fd)
                raise
    return fds


def _is_ours(program: int) -> bool:
    info = bytearray(_INFO_SIZE)
    attributes = bytearray(pack("=IIQ", program, len(info), native.address(info)))
    _bpf("BPF_OBJ_GET_INFO_BY_FD", _PROG_GET_INFO, attributes)
    return bytes(info[_INFO_NAME]).rstrip(b"\0") == _NAME


def _bpf(name: str, command: int, attributes: bytearray) -> int:
    try:
        return native.bpf(command, attributes)
    except OSError as error:
        raise rendered(error, f"bpf({name})") from None
